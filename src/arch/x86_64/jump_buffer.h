// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_JUMP_BUFFER_H_
#define RETPROBE_ARCH_X86_64_JUMP_BUFFER_H_

// JumpTarget, which longjmp.S shares with C++.
#define RETPROBE_JUMP_RBX 0
#define RETPROBE_JUMP_RBP 8
#define RETPROBE_JUMP_R12 16
#define RETPROBE_JUMP_R13 24
#define RETPROBE_JUMP_R14 32
#define RETPROBE_JUMP_R15 40
#define RETPROBE_JUMP_RSP 48
#define RETPROBE_JUMP_RIP 56

#ifndef __ASSEMBLER__

#include <cstddef>
#include <cstdint>

namespace retprobe::arch {

// Where a jump goes: what setjmp's caller has when setjmp returns.
struct JumpTarget {
  uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
};
static_assert(offsetof(JumpTarget, rsp) == RETPROBE_JUMP_RSP);
static_assert(offsetof(JumpTarget, rip) == RETPROBE_JUMP_RIP);

// Undoes glibc's PTR_MANGLE.
inline uint64_t Demangle(uint64_t value) noexcept {
  asm("rorq $17, %0\n\txorq %%fs:0x30, %0" : "+r"(value) : : "cc");
  return value;
}

// Reads glibc's jmp_buf or sigjmp_buf: the same eight words, three of them
// mangled.
inline JumpTarget ReadJumpBuffer(const void* buffer) noexcept {
  // Word by word: one copy of all would be a call of memcpy, and that probed.
  using Word [[gnu::may_alias]] = const uint64_t;
  const auto* words = static_cast<Word*>(buffer);
  return {words[0], Demangle(words[1]), words[2],           words[3],
          words[4], words[5],           Demangle(words[6]), Demangle(words[7])};
}

}  // namespace retprobe::arch

#endif  // __ASSEMBLER__

#endif  // RETPROBE_ARCH_X86_64_JUMP_BUFFER_H_
