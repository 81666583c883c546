// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_CALL_CHECKS_H_
#define RETPROBE_RETHOOK_CALL_CHECKS_H_

#include <cstddef>
#include <cstdint>

#include "rethook/instance.h"
#include "retprobe/address_range.h"

namespace retprobe {

// A CallFilter as a probed call sees it. Immutable once a list names it, and
// freed when none does.
struct CallChecks {
  enum class Threads : uint8_t { kAny, kOnly, kAllBut };
  Threads threads_rule = Threads::kAny;
  uint32_t thread_count = 0;
  const int32_t* threads = nullptr;  // ascending
  // Ascending and disjoint; none: any caller.
  const AddressRange* callers = nullptr;
  size_t caller_count = 0;
};

// Whether a call that enters now passes. Hot: async-signal-safe; but a thread's
// first call that is checked for its thread makes a system call.
bool Passes(const CallChecks& checks, const ReturnInstance& instance,
            const RegisterFrame& frame);

// Forgets the calling thread's id: it has another, in a forked child.
void ForgetThreadId();

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_CALL_CHECKS_H_
