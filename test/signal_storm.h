// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_SIGNAL_STORM_H_
#define RETPROBE_TEST_SIGNAL_STORM_H_

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace retprobe::test {

// Interrupts the thread that made it, again and again.
class SignalStorm {
 public:
  explicit SignalStorm(long interval_ns, int signal = SIGRTMIN) {
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signal;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    timer_create(CLOCK_MONOTONIC, &event, &timer_);
    const itimerspec every = {{0, interval_ns}, {0, interval_ns}};
    timer_settime(timer_, 0, &every, nullptr);
  }
  ~SignalStorm() { timer_delete(timer_); }
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;

 private:
  timer_t timer_;
};

// How many signals may be on their way to one thread: GCC 12's ThreadSanitizer
// loses some when they differ.
#if defined(__SANITIZE_THREAD__)
inline constexpr int kNestedSignals = 1;
#else
inline constexpr int kNestedSignals = 3;
#endif

// Lets signals in that ThreadSanitizer keeps back until the thread calls
// something of libc that it knows.
inline void LetSignalsIn() { time(nullptr); }

// Has `handler` called for `signal`, whose system calls are then resumed.
inline void OnSignal(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_SIGNAL_STORM_H_
