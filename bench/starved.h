// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_STARVED_H_
#define RETPROBE_BENCH_STARVED_H_

#include <benchmark/benchmark.h>

#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "scenario.h"

// Scenarios in which more is wanted than there is.

namespace retprobe::bench {

// One round: pops, and pushes of what came.
struct Round {
  double hits;
  double misses;
  double ns;
};

struct HitAndMiss {
  double hit_ns;  // a pop and its push
  std::optional<double> miss_ns;
};

// The times of a hit and of a miss that explain the rounds best, by least
// squares; `clock_ns` is what each round has in it for being timed. Rounds in
// which something else ran, the slowest 5 % by pop, are left out. Nothing when
// there are too few rounds, or all of one kind.
std::optional<HitAndMiss> FitHitAndMiss(std::vector<Round> rounds,
                                        double clock_ns);

// What two readings of the clock right after one another differ by.
double ClockNanoseconds();

// Measures every kEvery-th round, so that the clock does not slow the others.
class RoundClock {
 public:
  RoundClock() { rounds_.reserve(kMost); }
  void Begin() {
    timed_ = ++round_ % kEvery == 0 && rounds_.size() < kMost;
    if (timed_) start_ = Clock::now();
  }
  void End(const Tally& tally) {
    if (!timed_) return;
    rounds_.push_back(
        {static_cast<double>(tally.hits), static_cast<double>(tally.misses),
         std::chrono::duration<double, std::nano>(Clock::now() - start_)
             .count()});
  }
  std::vector<Round> TakeRounds() { return std::move(rounds_); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr uint64_t kEvery = 8;
  static constexpr size_t kMost = 4096;
  std::vector<Round> rounds_;
  Clock::time_point start_;
  uint64_t round_ = 0;
  bool timed_ = false;
};

// Pops `wanted` objects and pushes those that came.
template <typename Pool, typename Between>
Tally TakeAndGive(Local<Pool>& local, uint64_t wanted, void** held,
                  Between between) {
  size_t count = 0;
  for (uint64_t k = 0; k < wanted; ++k) {
    void* object = local.Pop();
    benchmark::DoNotOptimize(object);
    if (object != nullptr) held[count++] = object;
  }
  const Tally tally{count, wanted - count};
  between();
  while (count > 0) local.Push(held[--count]);
  return tally;
}

template <typename Pool>
Tally TakeAndGive(Local<Pool>& local, uint64_t wanted, void** held) {
  return TakeAndGive(local, wanted, held, [] {});
}

// The part of pops that hit when all threads pop before any pushes. When they
// do not wait for each other that part says more about how they take turns: a
// pool that is slow enough is never in demand by two.
class HitRateAtOnce {
 public:
  // Requires: called before any thread calls Measure.
  void Prepare(int threads) { barrier_.emplace(threads); }

  template <typename Pool>
  void Measure(benchmark::State& state, Local<Pool>& local, uint64_t wanted,
               void** held) {
    constexpr int kRounds = 50;
    uint64_t hits = 0;
    for (int i = 0; i < kRounds; ++i) {
      hits += TakeAndGive(local, wanted, held, [&] {
                barrier_->arrive_and_wait();
              }).hits;
      barrier_->arrive_and_wait();
    }
    state.counters["hit_rate_at_once"] =
        static_cast<double>(hits) /
        static_cast<double>(kRounds * wanted * state.threads());
  }

 private:
  std::optional<std::barrier<>> barrier_;
};

// Wants 16 objects, pushes back what came; there are 8 for each thread, so half
// of all pops may well miss.
template <typename Pool>
void Overrun(benchmark::State& state) {
  static std::unique_ptr<Pool> pool;
  static HitRateAtOnce at_once;
  constexpr uint64_t kWanted = 16;
  void* held[kWanted];
  RunScenario(
      state, pool,
      [&] {
        pool =
            std::make_unique<Pool>(kWanted / 2 * state.threads(), kObjectSize);
        at_once.Prepare(state.threads());
      },
      [&](Local<Pool>& local, uint64_t pops) {
        Tally tally;
        for (uint64_t i = 0; i < pops; i += kWanted) {
          const Tally round = TakeAndGive(local, kWanted, held);
          tally.hits += round.hits;
          tally.misses += round.misses;
        }
        return tally;
      },
      [&](Local<Pool>& local) { at_once.Measure(state, local, kWanted, held); },
      state.threads());
}

// How many objects the rounds want: from half to one and a half times `load`,
// each as often as the others, in an order that nobody guesses.
std::vector<uint64_t> WantedByRound(uint64_t load);

// Wants state.range(0) percent of the supply, which is 16 for each thread.
template <typename Pool>
void Rate(benchmark::State& state) {
  static std::unique_ptr<Pool> pool;
  static HitRateAtOnce at_once;
  constexpr uint64_t kSupply = 16;
  const auto load = kSupply * static_cast<uint64_t>(state.range(0)) / 100;
  const std::vector<uint64_t> wanted = WantedByRound(load);
  std::vector<void*> held(2 * load);
  size_t round = 0;
  RoundClock clock;
  RunScenario(
      state, pool,
      [&] {
        pool = std::make_unique<Pool>(kSupply * state.threads(), kObjectSize);
        at_once.Prepare(state.threads());
      },
      [&](Local<Pool>& local, uint64_t pops) {
        Tally tally;
        while (tally.hits + tally.misses < pops) {
          const uint64_t now = wanted[round++ % wanted.size()];
          clock.Begin();
          const Tally taken = TakeAndGive(local, now, held.data());
          clock.End(taken);
          tally.hits += taken.hits;
          tally.misses += taken.misses;
        }
        return tally;
      },
      [&](Local<Pool>& local) {
        at_once.Measure(state, local, load, held.data());
      },
      state.threads());
  if (const auto fit = FitHitAndMiss(clock.TakeRounds(), ClockNanoseconds())) {
    state.counters["hit_ns"] = fit->hit_ns / state.threads();
    if (fit->miss_ns) {
      state.counters["miss_ns"] = *fit->miss_ns / state.threads();
    }
  }
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_STARVED_H_
