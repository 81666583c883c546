// SPDX-License-Identifier: Apache-2.0
#include "checked_call.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>

#include "rethook/trampoline.h"

namespace {

struct Registers {
  uint64_t general[16];  // as kNames, the last unused
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

}  // namespace

// arch/x86_64/checked_call.S
extern "C" void checked_call(void (*function)(), CheckedState* state);

namespace retprobe::test {
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

// `words.only` leaves what SSE code makes of the other registers.
int WordsOf(int r, VectorWords words) {
  if (words.only != -1 && words.only != r) return r < 16 ? 2 : 0;
  return r < 16 ? words.low : words.high;
}

void Fill(Registers& registers, unsigned seed, VectorWords words) {
  std::mt19937_64 random(seed);
  for (uint64_t& value : registers.general) value = random();
  for (int r = 0; r < 32; ++r) {
    for (int i = 0; i < 8; ++i) {
      const uint64_t value = random();
      registers.vectors[r][i] = i < WordsOf(r, words) ? value : 0;
    }
  }
  // Without AVX-512BW masks have 16 bits.
  const uint64_t mask_bits = retprobe_vector_level == 2 ? 0xffff : ~uint64_t{0};
  for (uint64_t& value : registers.masks) value = random() & mask_bits;
}

}  // namespace

std::string CallWithRandomRegisters(void (*function)(), unsigned seed,
                                    VectorWords words) {
  CheckedState state;
  Fill(state.in, seed, words);
  checked_call(function, &state);
  return Changed(state);
}

}  // namespace retprobe::test
