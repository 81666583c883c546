// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CHURN_CYCLE_H_
#define RETPROBE_TEST_CHURN_CYCLE_H_

#include <chrono>
#include <cstddef>

#include "absl/status/statusor.h"
#include "churn/callers.h"
#include "churn/watched.h"
#include "retprobe/return_probe.h"

namespace retprobe::test {

inline constexpr int kThreadCounts[] = {1, 2, 8};

// How often a probe is to come and go: what RETPROBE_CHURN_CYCLES says, with 8
// threads, else not for long.
long Cycles(int threads);

// How the probes of one run came and went.
struct Churn {
  long cycles = 0;
  long refused = 0;
  absl::Status last_refusal;
  double longest = 0;  // seconds for an Attach
  const std::chrono::steady_clock::time_point begin =
      std::chrono::steady_clock::now();
};

absl::StatusOr<ReturnProbe> Attach(size_t target, Watched& watched,
                                   Watched::Kind kind, Churn* churn);

// One probe's coming and going.
void Cycle(const Callers& callers, size_t target, Churn* churn);

// Says how it went. None may have been refused.
void Report(const char* name, int threads, const Churn& churn);

// Checks that all results were right, that no handler ran that may not, and
// that no instance is out. Requires: all callers have stopped.
void CheckNothingIsLeft(const Callers& callers);

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_CHURN_CYCLE_H_
