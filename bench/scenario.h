// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_SCENARIO_H_
#define RETPROBE_BENCH_SCENARIO_H_

#include <benchmark/benchmark.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

// What all scenarios of objpool_bench share.

namespace retprobe::bench {

inline constexpr size_t kObjectSize = 64;

// The CPUs that this process may use. First called by main, before libraries
// that change it.
inline const cpu_set_t& AllowedCpus() {
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    return set;
  }();
  return allowed;
}

inline int CpuCount() { return CPU_COUNT(&AllowedCpus()); }

// Threads 0, 1, ... each to a CPU of its own, and again from the first.
inline void PinThread(int number) {
  number %= CpuCount();
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &AllowedCpus()) || number-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
    return;
  }
}

// Waits a little, then for others to run.
class Patience {
 public:
  void Wait() {
    if (++waited_ % kSpins == 0) {
      sched_yield();
    } else {
      __builtin_ia32_pause();
    }
  }

 private:
  static constexpr int kSpins = 64;
  int waited_ = 0;
};

// A thread's use of a pool: the pool's own Local, or the pool itself.
template <typename Pool>
class Local {
 public:
  explicit Local(Pool& pool) : pool_(pool) {}
  void* Pop() { return pool_.Pop(); }
  void Push(void* object) { pool_.Push(object); }
  size_t PopBatch(void** objects, size_t most) requires requires(Pool& pool) {
    pool.PopBatch(objects, most);
  }
  { return pool_.PopBatch(objects, most); }
  void PushBatch(void* const* objects, size_t count) requires
      requires(Pool& pool) {
    pool.PushBatch(objects, count);
  }
  { pool_.PushBatch(objects, count); }

 private:
  Pool& pool_;
};

template <typename Pool>
requires requires { typename Pool::Local; }
class Local<Pool> : public Pool::Local {
 public:
  using Pool::Local::Local;
};

// What came of the pops of one thread.
struct Tally {
  uint64_t hits = 0;
  uint64_t misses = 0;
};

// Everybody begins at once, however late the kernel wakes them; and how long
// it took from the first to begin to the last to end.
class StartGate {
 public:
  using Clock = std::chrono::steady_clock;

  // Requires: nobody waits.
  void Close() {
    arrived_.store(0, std::memory_order_relaxed);
    begin_.store(INT64_MAX, std::memory_order_relaxed);
    end_.store(0, std::memory_order_relaxed);
  }
  void Pass(int threads) {
    arrived_.fetch_add(1, std::memory_order_relaxed);
    Patience patience;
    while (arrived_.load(std::memory_order_relaxed) < threads) patience.Wait();
    const int64_t now = Now();
    int64_t begin = begin_.load(std::memory_order_relaxed);
    while (now < begin && !begin_.compare_exchange_weak(
                              begin, now, std::memory_order_relaxed)) {
    }
  }
  void Leave() {
    const int64_t now = Now();
    int64_t end = end_.load(std::memory_order_relaxed);
    while (now > end &&
           !end_.compare_exchange_weak(end, now, std::memory_order_relaxed)) {
    }
  }
  // Requires: all have left.
  double Seconds() const {
    return 1e-9 * static_cast<double>(end_.load(std::memory_order_relaxed) -
                                      begin_.load(std::memory_order_relaxed));
  }

 private:
  static int64_t Now() { return Clock::now().time_since_epoch().count(); }
  std::atomic<int> arrived_{0};
  std::atomic<int64_t> begin_{0};
  std::atomic<int64_t> end_{0};
};

// How one thread fared.
struct Outcome {
  Tally tally;
  double seconds = 0;  // of wall time, in all
  double median = 0;   // per pop, of the parts
};

// Puts a thread's outcome into the results: sums over all threads, and means
// over the `poppers` among them.
inline void Report(benchmark::State& state, const Outcome& outcome,
                   int poppers) {
  const auto hits = static_cast<double>(outcome.tally.hits);
  const auto misses = static_cast<double>(outcome.tally.misses);
  if (hits + misses == 0) return;
  state.counters["hits"] = hits;
  state.counters["misses"] = misses;
  state.counters["items_per_second"] = (hits + misses) / outcome.seconds;
  state.counters["hits_per_second"] = hits / outcome.seconds;
  state.counters["hit_rate"] = hits / (hits + misses) / poppers;
  state.counters["median_ns"] = outcome.median * 1e9 / poppers;
}

// Calls `run(pops)` in parts and times each, so that one can do without those
// in which another program ran.
template <typename Run>
Outcome TimeParts(uint64_t pops, Run run) {
  using Clock = std::chrono::steady_clock;
  constexpr int kParts = 15;
  Outcome outcome;
  std::array<double, kParts> per_pop;
  auto start = Clock::now();
  for (double& part : per_pop) {
    const Tally tally = run(pops / kParts + 1);
    const auto end = Clock::now();
    const double seconds = std::chrono::duration<double>(end - start).count();
    start = end;
    outcome.seconds += seconds;
    outcome.tally.hits += tally.hits;
    outcome.tally.misses += tally.misses;
    part = seconds / static_cast<double>(tally.hits + tally.misses);
  }
  std::nth_element(per_pop.begin(), per_pop.begin() + kParts / 2,
                   per_pop.end());
  outcome.median = per_pop[kParts / 2];
  return outcome;
}

// Runs one thread of a scenario. `make()` sets `pool` up, in thread 0 before
// the others begin; `run(local, pops)` is timed and returns its Tally, after
// about so many pops; `after(local)` is not timed. The pool is gone afterwards.
template <typename Pool, typename Make, typename Run, typename After>
void RunScenario(benchmark::State& state, std::unique_ptr<Pool>& pool,
                 Make make, Run run, After after, int poppers) {
  static StartGate gate;
  PinThread(state.thread_index());
  if (state.thread_index() == 0) {
    gate.Close();
    make();
  }
  Outcome outcome;
  // Once: one batch is all. It begins when all threads have come, and ends when
  // all have ended it.
  while (state.KeepRunningBatch(state.max_iterations)) {
    state.PauseTiming();
    {
      Local<Pool> local(*pool);
      gate.Pass(state.threads());
      state.ResumeTiming();
      outcome = TimeParts(static_cast<uint64_t>(state.max_iterations),
                          [&](uint64_t pops) { return run(local, pops); });
      state.PauseTiming();
      gate.Leave();
      after(local);
    }
    state.ResumeTiming();
  }
  if (state.threads() > CpuCount()) {
    // A thread's own time says nothing of how long it waited for a CPU.
    outcome.seconds = gate.Seconds();
    outcome.median =
        outcome.seconds /
        static_cast<double>(outcome.tally.hits + outcome.tally.misses);
  }
  Report(state, outcome, poppers);
  if (state.thread_index() == 0) pool.reset();
}

template <typename Pool, typename Make, typename Run>
void RunScenario(benchmark::State& state, std::unique_ptr<Pool>& pool,
                 Make make, Run run) {
  RunScenario(
      state, pool, make, run, [](Local<Pool>&) {}, state.threads());
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_SCENARIO_H_
