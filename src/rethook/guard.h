// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_GUARD_H_
#define RETPROBE_RETHOOK_GUARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/arch.h"

namespace retprobe {

struct ReturnInstance;

// Per thread: while one of the first two is not zero, probed functions that the
// thread calls run unprobed. The trampoline tests both as one 8-byte word.
struct ThreadGuard {
  // Depth of handlers and slow paths: calls count as Missed::recursion.
  uint32_t in_handler;
  // Depth of what is none of the program's doing: this library's set-up, and a
  // vfork child, which shares this memory. Nobody's misses.
  uint32_t unseen;
  // Whose handler runs in this thread: what Detach, called there, must not
  // wait for. Left behind when the handler has returned.
  ReturnInstance* running;
  // While it is on the slow way into a probed function: its count of those that
  // are (rethook/entering.h), for a fork in a signal handler there.
  std::atomic<int64_t>* entering;
  // Not 0: `unseen` is one higher because of a child of clone that runs beside
  // us on this thread's area; it has gone when the kernel has cleared `child`.
  uint32_t beside;
  uint32_t child;
};
static_assert(offsetof(ThreadGuard, unseen) == RETPROBE_GUARD_UNSEEN);
static_assert(offsetof(ThreadGuard, beside) == RETPROBE_GUARD_BESIDE);
static_assert(offsetof(ThreadGuard, child) == RETPROBE_GUARD_CHILD);

}  // namespace retprobe

extern "C" {
// initial-exec: no call, no allocation on first touch. constinit: nor a wrapper
// that looks for an initializer.
extern constinit thread_local retprobe::ThreadGuard retprobe_guard
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
}

namespace retprobe {

// Whether calls of this thread are nobody's to see. (The trampoline has the
// same in assembly.)
inline bool Unseen() {
  ThreadGuard& guard = retprobe_guard;
  if (guard.unseen == 0) return false;
  // relaxed, both: the child has gone, it publishes nothing. A signal handler
  // may come to see that in between.
  if (guard.beside != 0 &&
      std::atomic_ref(guard.child).load(std::memory_order_relaxed) == 0) {
    guard.unseen -=
        std::atomic_ref(guard.beside).exchange(0, std::memory_order_relaxed);
  }
  return guard.unseen != 0;
}

// Raises one of the calling thread's words for its lifetime.
//
// Signals: a handler that interrupts the scope is not probed either.
template <uint32_t ThreadGuard::*kWord>
class GuardScope {
 public:
  GuardScope() { Adjust(1); }
  ~GuardScope() { Adjust(-1); }
  GuardScope(const GuardScope&) = delete;
  GuardScope& operator=(const GuardScope&) = delete;

 private:
  static void Adjust(int by) {
    retprobe_guard.*kWord += static_cast<uint32_t>(by);
    // The compiler must not move what is guarded out of the scope; the hardware
    // keeps a thread's own order.
    asm volatile("" ::: "memory");
  }
};

using HandlerScope = GuardScope<&ThreadGuard::in_handler>;
using SetupScope = GuardScope<&ThreadGuard::unseen>;

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_GUARD_H_
