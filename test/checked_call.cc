// SPDX-License-Identifier: Apache-2.0
#include "checked_call.h"

#include <cstring>
#include <random>

#include "rethook/trampoline.h"

namespace retprobe {
namespace {

const char* const kNames[] = {"rax", "rbx", "rcx", "rdx", "rsi",
                              "rdi", "rbp", "r8",  "r9",  "r10",
                              "r11", "r12", "r13", "r14", "r15"};

// What differs between the registers before and after, by name.
std::string Changed(const CheckedState& state) {
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

}  // namespace

std::string CallWithRandomRegisters(unsigned seed, VectorWords words) {
  std::mt19937_64 random(seed);
  CheckedState state;
  for (uint64_t& value : state.in.general) value = random();
  for (int r = 0; r < 32; ++r) {
    for (int i = 0; i < 8; ++i) {
      const uint64_t value = random();
      const int count = words.only != -1 && words.only != r ? (r < 16 ? 2 : 0)
                        : r < 16                            ? words.low
                                                            : words.high;
      state.in.vectors[r][i] = i < count ? value : 0;
    }
  }
  // Without AVX-512BW masks have 16 bits.
  const uint64_t mask_bits = retprobe_vector_level == 2 ? 0xffff : ~uint64_t{0};
  for (uint64_t& value : state.in.masks) value = random() & mask_bits;
  checked_call(reinterpret_cast<const void*>(&untouching), &state);
  return Changed(state);
}

}  // namespace retprobe
