// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_VALUES_WIDE_H_
#define RETPROBE_TEST_VALUES_WIDE_H_

#include <vector>

// Functions with arguments and results of 128, 256 and 512 bits, as many as
// this machine has; compiled with AVX-512.
struct WideCase {
  const char* name;
  void* function;
  bool (*good)(long seed);
};
std::vector<WideCase> wide_cases();

// Sets all bits of every vector and mask register of this machine.
extern "C" void wide_clobber();

#endif  // RETPROBE_TEST_VALUES_WIDE_H_
