// SPDX-License-Identifier: Apache-2.0
#include "starved.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

namespace retprobe::bench {
namespace {

using Clock = std::chrono::steady_clock;

double PerPop(const Round& round) {
  return round.ns / (round.hits + round.misses);
}

}  // namespace

std::vector<uint64_t> WantedByRound(uint64_t load) {
  std::vector<uint64_t> wanted(load + 1);
  std::iota(wanted.begin(), wanted.end(), load / 2);
  std::vector<uint64_t> order;
  std::mt19937 random(1);
  for (int cycle = 0; cycle < 8; ++cycle) {
    std::shuffle(wanted.begin(), wanted.end(), random);
    order.insert(order.end(), wanted.begin(), wanted.end());
  }
  // RoundClock shall not see the same ones again and again.
  if (order.size() % 2 == 0) order.pop_back();
  return order;
}

double ClockNanoseconds() {
  static const double median = [] {
    std::vector<double> gaps(1001);
    for (double& gap : gaps) {
      const auto start = Clock::now();
      gap = std::chrono::duration<double, std::nano>(Clock::now() - start)
                .count();
    }
    std::nth_element(gaps.begin(), gaps.begin() + 500, gaps.end());
    return gaps[500];
  }();
  return median;
}

std::optional<HitAndMiss> FitHitAndMiss(std::vector<Round> rounds,
                                        double clock_ns) {
  constexpr size_t kEnough = 20;
  std::sort(rounds.begin(), rounds.end(), [](const Round& a, const Round& b) {
    return PerPop(a) < PerPop(b);
  });
  rounds.resize(rounds.size() * 95 / 100);
  if (rounds.size() < kEnough) return std::nullopt;
  double hh = 0, hm = 0, mm = 0, ht = 0, mt = 0;
  for (const Round& round : rounds) {
    const double time = round.ns - clock_ns;
    hh += round.hits * round.hits;
    hm += round.hits * round.misses;
    mm += round.misses * round.misses;
    ht += round.hits * time;
    mt += round.misses * time;
  }
  if (hh == 0) return std::nullopt;
  if (mm == 0) return HitAndMiss{ht / hh, std::nullopt};
  const double determinant = hh * mm - hm * hm;
  // The cosine between hits and misses is 1 when they are always in step.
  if (determinant < 1e-3 * hh * mm) return std::nullopt;
  return HitAndMiss{(ht * mm - mt * hm) / determinant,
                    (mt * hh - ht * hm) / determinant};
}

}  // namespace retprobe::bench
