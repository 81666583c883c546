// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CHECKED_CALL_H_
#define RETPROBE_TEST_CHECKED_CALL_H_

#include <cstddef>
#include <cstdint>
#include <string>

// A call with a value in every register that a caller could keep one in
// (arch/x86_64/checked_call.S).

struct Registers {
  uint64_t general[16];  // rax rbx rcx rdx rsi rdi rbp r8..r15, unused
  uint64_t vectors[32][8];
  uint64_t masks[8];
};
struct CheckedState {
  Registers in;
  Registers out;
};
static_assert(offsetof(Registers, vectors) == 128);
static_assert(offsetof(Registers, masks) == 2176);
static_assert(offsetof(CheckedState, out) == 2240);

extern "C" void checked_call(const void* function, CheckedState* state);
extern "C" void untouching();

namespace retprobe {

// How many of the 64-bit words of registers 0..15 and 16..31 are random; the
// others are zero.
struct VectorWords {
  int low = 8;
  int high = 8;
  int only = -1;  // not -1: that register alone; SSE code made the others
};

// Calls `untouching`, which changes nothing, with random registers. The names
// of those that come back otherwise.
std::string CallWithRandomRegisters(unsigned seed, VectorWords words);

}  // namespace retprobe

#endif  // RETPROBE_TEST_CHECKED_CALL_H_
