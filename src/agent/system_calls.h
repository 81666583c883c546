// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_SYSTEM_CALLS_H_
#define RETPROBE_AGENT_SYSTEM_CALLS_H_

#include <type_traits>

#include "arch/arch.h"

namespace retprobe::agent {

// SystemCall with arguments of any integer or pointer type.
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
  return arch::SystemCall(number, word(args)...);
}

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_SYSTEM_CALLS_H_
