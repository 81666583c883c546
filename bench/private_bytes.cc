// SPDX-License-Identifier: Apache-2.0
#include "private_bytes.h"

#include <malloc.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace {

// Sums up a file in the format of smaps, without the mappings of files if so.
long Sum(const char* path, bool anonymous) {
  malloc_trim(0);
  std::ifstream smaps(path);
  long sum = 0;
  bool counts = true;
  for (std::string line; std::getline(smaps, line);) {
    long kib = 0;
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), "%*x-%*x %*s %*x %*s %lu", &inode) == 1)
      counts = !anonymous || inode == 0;
    else if (counts &&
             (std::sscanf(line.c_str(), "Private_Clean: %ld", &kib) == 1 ||
              std::sscanf(line.c_str(), "Private_Dirty: %ld", &kib) == 1))
      sum += kib * 1024;
  }
  return sum;
}

}  // namespace

long PrivateBytes() { return Sum("/proc/self/smaps_rollup", false); }

long AnonymousBytes() { return Sum("/proc/self/smaps", true); }
