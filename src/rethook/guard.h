// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_GUARD_H_
#define RETPROBE_RETHOOK_GUARD_H_

#include <cstdint>

namespace retprobe {

struct ReturnInstance;

// Per thread: while one of the first two is not zero, probed functions that the
// thread calls run unprobed. The trampoline tests both as one 8-byte word.
struct ThreadGuard {
  uint32_t in_handler;  // depth of handlers and slow paths
  uint32_t in_vfork;    // a child that shares this memory may be running
  // Whose handler runs in this thread: what Detach, called there, must not
  // wait for. Left behind when the handler has returned.
  ReturnInstance* running;
};

}  // namespace retprobe

extern "C" {
// initial-exec: no call, no allocation on first touch.
extern thread_local retprobe::ThreadGuard retprobe_guard
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
}

namespace retprobe {

// Keeps the calling thread's own work out of its probes.
//
// Signals: a handler that interrupts the scope is not probed either.
class HandlerScope {
 public:
  HandlerScope() { Adjust(1); }
  ~HandlerScope() { Adjust(-1); }
  HandlerScope(const HandlerScope&) = delete;
  HandlerScope& operator=(const HandlerScope&) = delete;

 private:
  static void Adjust(int by) {
    retprobe_guard.in_handler += static_cast<uint32_t>(by);
    // The compiler must not move what is guarded out of the scope; the hardware
    // keeps a thread's own order.
    asm volatile("" ::: "memory");
  }
};

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_GUARD_H_
