// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_SIGNALS_H_
#define RETPROBE_BENCH_SIGNALS_H_

#include <benchmark/benchmark.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "scenario.h"

namespace retprobe::bench {

inline constexpr long kSignalNanoseconds = 100'000;

// Interrupts the calling thread again and again, until it is destroyed. No
// signal comes afterwards.
class SignalStorm {
 public:
  SignalStorm(int signal, void (*handler)(int)) : signal_(signal) {
    struct sigaction action = {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaction(signal, &action, nullptr);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signal;
    event._sigev_un._tid = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) {
      std::perror("objpool_bench: timer_create");
      std::exit(1);
    }
    const timespec period = {0, kSignalNanoseconds};
    const itimerspec schedule = {period, period};
    timer_settime(timer_, 0, &schedule, nullptr);
  }
  ~SignalStorm() {
    timer_delete(timer_);
    // One that is pending would come when the pool is gone.
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, signal_);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    const timespec now = {};
    while (sigtimedwait(&set, nullptr, &now) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;

 private:
  int signal_;
  timer_t timer_;
};

// Takes 4 objects and gives them back, while a timer's handler takes 2 and
// gives them back, in its middle.
template <typename Pool>
class Signals {
 public:
  static void Run(benchmark::State& state) {
    uint64_t signals = 0;
    RunScenario(
        state, pool_,
        [&] {
          pool_ = std::make_unique<Pool>(64 * state.threads(), kObjectSize);
        },
        [&](Local<Pool>& local, uint64_t pops) {
          signals_ = 0;
          const SignalStorm storm(SIGRTMIN, Handle);
          const Tally tally = TakeAndGive(local, pops);
          signals = signals_;
          return tally;
        });
    state.counters["signals"] = static_cast<double>(signals);
  }

 private:
  static Tally TakeAndGive(Local<Pool>& local, uint64_t pops) {
    constexpr uint64_t kWanted = 4;
    void* held[kWanted];
    Tally tally;
    for (uint64_t i = 0; i < pops; i += kWanted) {
      size_t count = 0;
      for (uint64_t k = 0; k < kWanted; ++k) {
        void* object = local.Pop();
        benchmark::DoNotOptimize(object);
        if (object != nullptr) held[count++] = object;
      }
      tally.hits += count;
      tally.misses += kWanted - count;
      while (count > 0) local.Push(held[--count]);
    }
    return tally;
  }

  static void Handle(int) {
    const int error = errno;
    Local<Pool> local(*pool_);
    void* first = local.Pop();
    void* second = local.Pop();
    if (first != nullptr) local.Push(first);
    if (second != nullptr) local.Push(second);
    signals_ = signals_ + 1;
    errno = error;
  }

  static inline std::unique_ptr<Pool> pool_;
  static inline thread_local volatile uint64_t signals_ = 0;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_SIGNALS_H_
