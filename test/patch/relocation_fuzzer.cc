// SPDX-License-Identifier: Apache-2.0
// For libFuzzer, built and run by test/fuzz.
#include <cstdio>
#include <cstdlib>

#include "patch/relocation_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const retprobe::FuzzResult result = retprobe::FuzzRelocation(data, size);
  if (result.difference.empty()) return result.moved ? 0 : -1;
  std::fprintf(stderr, "%s\n", result.difference.c_str());
  std::abort();
}
