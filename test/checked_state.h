// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CHECKED_STATE_H_
#define RETPROBE_TEST_CHECKED_STATE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

// Calls with a value in every register, to see which are changed.
struct CheckedState {
  struct Registers {
    uint64_t general[16];  // rax rbx rcx rdx rsi rdi rbp r8..r15, unused
    uint64_t vectors[32][8];
    uint64_t masks[8];
  };
  Registers in;
  Registers out;
};
static_assert(offsetof(CheckedState::Registers, vectors) == 128);
static_assert(offsetof(CheckedState::Registers, masks) == 2176);
static_assert(offsetof(CheckedState, out) == 2240);

extern "C" {
// test/arch/x86_64/checked_call.S. Requires: AVX-512BW.
void checked_call(const void* function, CheckedState* state);
// Touches no register.
void untouching();
}

namespace retprobe::test {

// Random values. `upper` false: what SSE code leaves, the halves above 128 bits
// zero.
inline void Fill(CheckedState& state, unsigned seed, bool upper,
                 uint64_t mask_bits = ~uint64_t{0}) {
  std::mt19937_64 random(seed);
  for (uint64_t& value : state.in.general) value = random();
  for (int r = 0; r < 32; ++r) {
    for (int i = 0; i < 8; ++i) {
      state.in.vectors[r][i] = upper || i < 2 || r >= 16 ? random() : 0;
    }
  }
  for (uint64_t& value : state.in.masks) value = random() & mask_bits;
}

// What differs between the registers before and after, by name.
inline std::string Changed(const CheckedState& state) {
  static const char* const kNames[] = {"rax", "rbx", "rcx", "rdx", "rsi",
                                       "rdi", "rbp", "r8",  "r9",  "r10",
                                       "r11", "r12", "r13", "r14", "r15"};
  std::string changed;
  for (int i = 0; i < 15; ++i) {
    if (state.in.general[i] != state.out.general[i]) {
      changed.append(kNames[i]).append(" ");
    }
  }
  for (int i = 0; i < 32; ++i) {
    if (std::memcmp(state.in.vectors[i], state.out.vectors[i], 64) != 0) {
      changed.append("zmm").append(std::to_string(i)).append(" ");
    }
  }
  for (int i = 0; i < 8; ++i) {
    if (state.in.masks[i] != state.out.masks[i]) {
      changed.append("k").append(std::to_string(i)).append(" ");
    }
  }
  return changed;
}

// Clobbers all vector state, as a handler that uses AVX-512 may.
__attribute__((target("avx512f,avx512bw"))) inline void ClobberVectors() {
  asm volatile(
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,"
      "24,25,26,27,28,29,30,31\n"
      "vpternlogd $0xff, %%zmm\\r, %%zmm\\r, %%zmm\\r\n"
      ".endr\n"
      ".irp r, 0,1,2,3,4,5,6,7\n"
      "kxnorq %%k\\r, %%k\\r, %%k\\r\n"
      ".endr\n" ::
          : "memory");
}

inline bool Avx512() { return __builtin_cpu_supports("avx512bw") != 0; }

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_CHECKED_STATE_H_
