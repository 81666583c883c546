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

// Activations of a probe that a thread began and that are under way. One that
// a fiber has taken to another thread stays in the account of the one it began
// in, so none is ever lost, and a fiber that moves begins at 0 again.
struct DepthAccount {
  // Most activations that can be told apart.
  static constexpr uint32_t kMaxDepth = 65535;

  // Instead of an account.
  static constexpr uint32_t kTooDeep = UINT32_MAX;
  static constexpr uint32_t kNoRoom = UINT32_MAX - 1;

  // Adds one for the calling thread, unless there are `limit` already. Returns
  // the account, for Leave, to be called once, from any thread. kNoRoom: too
  // many are in use just now, about 100,000 in the whole process.
  static uint32_t Enter(uint32_t probe, uint32_t limit);
  static void Leave(uint32_t account);
};

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_CALL_CHECKS_H_
