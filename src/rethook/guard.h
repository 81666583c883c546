// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_GUARD_H_
#define RETPROBE_RETHOOK_GUARD_H_

#include <atomic>
#include <cstdint>

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
};

}  // namespace retprobe

extern "C" {
// initial-exec: no call, no allocation on first touch. constinit: nor a wrapper
// that looks for an initializer.
extern constinit thread_local retprobe::ThreadGuard retprobe_guard
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
}

namespace retprobe {

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
