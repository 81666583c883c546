// SPDX-License-Identifier: Apache-2.0
#include "churn/cycle.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "probe/registry.h"

namespace retprobe::test {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

long Cycles(int threads) {
  const char* const wanted = std::getenv("RETPROBE_CHURN_CYCLES");
  const long cycles = wanted != nullptr ? std::atol(wanted) : 40;
  return threads == 8 ? cycles : std::min(cycles, 25L);
}

absl::StatusOr<ReturnProbe> Attach(size_t target, Watched& watched,
                                   Watched::Kind kind, Churn* churn) {
  const auto begin = Clock::now();
  auto probe = ReturnProbe::Attach(TargetAddress(target), watched.Begin(kind));
  const std::chrono::duration<double> took = Clock::now() - begin;
  churn->longest = std::max(churn->longest, took.count());
  if (!probe.ok()) {
    ++churn->refused;
    churn->last_refusal = probe.status();
  }
  return probe;
}

// One probe's coming and going.
void Cycle(const Callers& callers, size_t target, Churn* churn) {
  Watched& watched = NextWatched();
  const auto kind = static_cast<Watched::Kind>(churn->cycles % Watched::kKinds);
  auto probe = Attach(target, watched, kind, churn);
  if (probe.ok()) {
    if (churn->cycles % 32 == 0) callers.Await(20);
    probe->Detach();
  }
  watched.End();
  ++churn->cycles;
}

void Report(const char* name, int threads, const Churn& churn) {
  const std::chrono::duration<double> seconds = Clock::now() - churn.begin;
  MESSAGE(std::string(name)
          << ", " << threads << " threads: " << churn.cycles << " cycles in "
          << seconds.count() << " s, longest Attach " << churn.longest << " s, "
          << churn.refused << " refused");
  CHECK_MESSAGE(churn.refused == 0, churn.last_refusal.ToString());
}

// After all callers have stopped and all probes have gone.
void CheckNothingIsLeft(const Callers& callers) {
  CHECK_MESSAGE(callers.wrong() == 0, "last of target ", callers.last_wrong());
  CHECK(g_violations.late == 0);
  CHECK(g_violations.orphans == 0);
  CHECK(Registry::Get().InstancesInUse() == 0);
}

}  // namespace retprobe::test
