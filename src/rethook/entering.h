// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_ENTERING_H_
#define RETPROBE_RETHOOK_ENTERING_H_

#include <atomic>
#include <cstdint>

#include "rethook/guard.h"

namespace retprobe {

// Counts threads that are on the slow way into a probed function: they have
// read a list that no instance names yet. Two counts take turns, as in the
// kernel's SRCU, so that a waiter is not held up by those who come after it;
// spread over lines by thread, so that without rseq, when every call comes this
// way, calls do not meet.
struct EnteringCounts {
  static constexpr int kLines = 16;
  struct alignas(128) Line {  // written by the threads that hash here
    std::atomic<int64_t> count[2];
  };
  Line lines[kLines];
  std::atomic<uint32_t> phase;
};
extern EnteringCounts g_entering;

// The calling thread is not on the slow way any more, or never comes to its
// end.
inline void StopEntering() {
  std::atomic<int64_t>* const count = retprobe_guard.entering;
  if (count == nullptr) return;
  retprobe_guard.entering = nullptr;
  // R5 -> A1: the instance names the list by now.
  count->fetch_sub(1, std::memory_order_release);
}

class EnteringScope {
 public:
  EnteringScope() {
    const auto self =
        reinterpret_cast<uintptr_t>(__builtin_thread_pointer()) >> 8;
    // relaxed: either phase is waited for, see WaitForEntering.
    const uint32_t phase = g_entering.phase.load(std::memory_order_relaxed) & 1;
    std::atomic<int64_t>* const count =
        &g_entering
             .lines[(self ^ self >> 4 ^ self >> 12) % EnteringCounts::kLines]
             .count[phase];
    // S0 <-> S1: total order of this increment before the read of the list (S2
    // in dispatch.cc), and of the list's change before the sum.
    count->fetch_add(1, std::memory_order_seq_cst);
    retprobe_guard.entering = count;
  }
  ~EnteringScope() { StopEntering(); }
  EnteringScope(const EnteringScope&) = delete;
  EnteringScope& operator=(const EnteringScope&) = delete;
};

// Waits until no thread is between reading a Site's list and publishing it in
// an instance. Together with a scan of the instances this tells when a list is
// out of use. Set-up only: makes system calls. False when a thread stays there,
// or the kernel no longer lets us wait (a seccomp filter since): nothing may be
// freed.
bool WaitForEntering();

// In a child of fork only the calling thread lives; it is entering if it forked
// in a signal handler.
void ForgetOtherEntering();

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_ENTERING_H_
