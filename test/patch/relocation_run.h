// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PATCH_RELOCATION_RUN_H_
#define RETPROBE_TEST_PATCH_RELOCATION_RUN_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace retprobe {

// What code is run with and leaves behind, as words: rax rcx rdx rbx rsp rbp
// rsi rdi r8 ... r15, flags.
struct MachineState {
  uint64_t registers[16];
  uint64_t flags;
};

// Memory for code to be run: mapped once, close together.
struct Arena {
  // A way out of the code: pushes its number and ends the run.
  static constexpr size_t kExitSize = 7;
  static constexpr size_t kCodeOffset = 64;  // of the code in `code`
  static constexpr size_t kCodeRoom = 48;

  uint8_t* code;      // exit 0, the code, exit 1 behind kCodeRoom
  uint8_t* stub;      // where the moved code goes
  uint8_t* scratch;   // data
  uint8_t* pointers;  // 8 pointers to the exits in turn; read-only
  uint8_t* stack;     // 4 KiB; runs begin in the middle

  static Arena& Get();
  uintptr_t original() const {
    return reinterpret_cast<uintptr_t>(code) + kCodeOffset;
  }
  uintptr_t exit(int number) const {
    return reinterpret_cast<uintptr_t>(code) +
           (number == 0 ? 0 : kCodeOffset + kCodeRoom);
  }
  void WriteExit(uint8_t* place, uint8_t number) const;
};

// Runs what is at `code` until it comes to an exit. `memory` gets 256 bytes of
// data, then 256 of the stack.
struct RunResult {
  MachineState state;
  uint8_t memory[512];
  bool operator==(const RunResult& other) const {
    return std::memcmp(this, &other, sizeof(*this)) == 0;
  }
};
RunResult RunCode(uintptr_t code, const uint8_t* seed, size_t seed_size);

// Whether the instruction at `bytes` touches nothing but general registers,
// flags, the stack and `scratch`, and how: what RunCode can do.
bool CanRun(const uint8_t* bytes, uintptr_t address);

}  // namespace retprobe

#endif  // RETPROBE_TEST_PATCH_RELOCATION_RUN_H_
