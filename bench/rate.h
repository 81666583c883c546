// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_RATE_H_
#define RETPROBE_BENCH_RATE_H_

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "scenario.h"

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
  void End(size_t hits, size_t misses) {
    if (!timed_) return;
    rounds_.push_back(
        {static_cast<double>(hits), static_cast<double>(misses),
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

// Each round wants half to one and a half times state.range(0) percent of the
// supply, which is 16 for each thread, at random.
template <typename Pool>
void Rate(benchmark::State& state) {
  static std::unique_ptr<Pool> pool;
  constexpr uint64_t kSupply = 16;
  const auto load = kSupply * static_cast<uint64_t>(state.range(0)) / 100;
  RoundClock clock;
  RunScenario(
      state, pool,
      [&] {
        pool = std::make_unique<Pool>(kSupply * state.threads(), kObjectSize);
      },
      [&](Local<Pool>& local, uint64_t pops) {
        std::vector<void*> held(2 * load);
        uint32_t random = 12345 + static_cast<uint32_t>(state.thread_index());
        Tally tally;
        for (uint64_t i = 0; i < pops;) {
          random = random * 1664525 + 1013904223;
          const uint64_t wanted =
              load / 2 + (load + 1) * (random >> 16) / 65536;
          size_t count = 0;
          clock.Begin();
          for (uint64_t k = 0; k < wanted; ++k) {
            void* object = local.Pop();
            benchmark::DoNotOptimize(object);
            if (object != nullptr) held[count++] = object;
          }
          const size_t hits = count;
          while (count > 0) local.Push(held[--count]);
          clock.End(hits, wanted - hits);
          tally.hits += hits;
          tally.misses += wanted - hits;
          i += wanted;
        }
        return tally;
      });
  if (const auto fit = FitHitAndMiss(clock.TakeRounds(), ClockNanoseconds())) {
    state.counters["hit_ns"] = fit->hit_ns / state.threads();
    if (fit->miss_ns) {
      state.counters["miss_ns"] = *fit->miss_ns / state.threads();
    }
  }
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_RATE_H_
