// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_RAW_SYSCALL_H_
#define RETPROBE_ARCH_X86_64_RAW_SYSCALL_H_

#include <cstddef>
#include <type_traits>

// System calls without libc, for code that may run inside any probed function
// and must leave errno alone.
namespace retprobe::arch {

inline long SyscallWords(long number, long a = 0, long b = 0, long c = 0,
                         long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

// Returns the result, or -errno. Arguments are integers or pointers.
template <typename... Args>
inline long Syscall(long number, Args... args) {
  [[maybe_unused]] auto word = [](auto value) -> long {
    if constexpr (std::is_null_pointer_v<decltype(value)>) {
      return 0;
    } else if constexpr (std::is_pointer_v<decltype(value)>) {
      return reinterpret_cast<long>(value);
    } else {
      return static_cast<long>(value);
    }
  };
  return SyscallWords(number, word(args)...);
}

}  // namespace retprobe::arch

#endif  // RETPROBE_ARCH_X86_64_RAW_SYSCALL_H_
