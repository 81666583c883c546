// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_SYSCALL_H_
#define RETPROBE_ARCH_X86_64_SYSCALL_H_

namespace retprobe::arch {

// A system call that runs no function of the C library: any of those may be
// probed, or be half patched at this moment. Returns what the kernel does, an
// error as its negative number; errno stays.
//
// Signals: async-signal-safe.
inline long SystemCall(long number, long a = 0, long b = 0, long c = 0,
                       long d = 0, long e = 0, long f = 0) noexcept {
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

}  // namespace retprobe::arch

#endif  // RETPROBE_ARCH_X86_64_SYSCALL_H_
