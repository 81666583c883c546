// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BASE_SIGNALS_BLOCKED_H_
#define RETPROBE_BASE_SIGNALS_BLOCKED_H_

#include <signal.h>
#include <sys/syscall.h>

#include <cstdint>

#include "arch/arch.h"

namespace retprobe {

// Blocks every signal of the calling thread for its lifetime, glibc's own for
// cancellation too. Two system calls; async-signal-safe, leaves errno alone.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    const uint64_t all = ~uint64_t{0};
    arch::SystemCall(SYS_rt_sigprocmask, SIG_SETMASK,
                     reinterpret_cast<long>(&all),
                     reinterpret_cast<long>(&before_), sizeof(before_));
  }
  ~SignalsBlocked() {
    arch::SystemCall(SYS_rt_sigprocmask, SIG_SETMASK,
                     reinterpret_cast<long>(&before_), 0, sizeof(before_));
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  uint64_t before_ = 0;  // the kernel's set: a bit per signal
};

}  // namespace retprobe

#endif  // RETPROBE_BASE_SIGNALS_BLOCKED_H_
