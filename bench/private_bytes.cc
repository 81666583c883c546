// SPDX-License-Identifier: Apache-2.0
#include "private_bytes.h"

#include <malloc.h>

#include <cstdio>
#include <fstream>
#include <string>

long PrivateBytes() {
  malloc_trim(0);
  std::ifstream smaps("/proc/self/smaps_rollup");
  long sum = 0;
  for (std::string line; std::getline(smaps, line);) {
    long kib = 0;
    if (std::sscanf(line.c_str(), "Private_Clean: %ld", &kib) == 1 ||
        std::sscanf(line.c_str(), "Private_Dirty: %ld", &kib) == 1)
      sum += kib * 1024;
  }
  return sum;
}
