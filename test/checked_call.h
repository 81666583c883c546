// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CHECKED_CALL_H_
#define RETPROBE_TEST_CHECKED_CALL_H_

#include <string>

// Changes no register (arch/x86_64/checked_call.S).
extern "C" void untouching();

namespace retprobe::test {

// How many of the 64-bit words of registers 0..15 and 16..31 are random; the
// others are zero.
struct VectorWords {
  int low = 8;
  int high = 8;
  int only = -1;  // not -1: that register alone; SSE code made the others
};

// Calls `function` with a random value in every register that a caller could
// keep one in. The names of those that come back otherwise. Masks have the bits
// that retprobe_vector_level says.
//
// Requires: HasAvx512(). Not thread-safe.
std::string CallWithRandomRegisters(void (*function)(), unsigned seed,
                                    VectorWords words);

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_CHECKED_CALL_H_
