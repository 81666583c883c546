// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_SYSCALL_H_
#define RETPROBE_ARCH_X86_64_SYSCALL_H_

namespace retprobe::arch {

// A system call past libc: errno stays as it is, and a probe on libc's wrapper
// cannot lead back here. Returns what the kernel returns (-errno on error).
inline long RawSyscall(long number, long a, long b, long c) noexcept {
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c)
               : "rcx", "r11", "memory");
  return result;
}

}  // namespace retprobe::arch

#endif  // RETPROBE_ARCH_X86_64_SYSCALL_H_
