// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_ANALYSIS_H_
#define RETPROBE_SCALING_ANALYSIS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "scaling/fit.h"
#include "scaling/series.h"

namespace retprobe::scaling {

// What is asked of the series.
struct Question {
  std::optional<Law> law;     // without: the one that AICc prefers
  std::vector<int> segments;  // last numbers of threads, ascending
  std::vector<int> predict;   // numbers of threads
};

struct Prediction {
  int threads = 0;
  double throughput = 0;
  Interval interval;
};

// One law for one range of threads of one series.
struct Segment {
  std::string series;
  double from = 0, to = 0;  // numbers of threads that were measured
  std::vector<Point> points;
  std::string error;  // why there is no fit; else empty

  std::optional<Fit> amdahl, usl;
  Law chosen = Law::kUsl;
  Intervals intervals;  // of the chosen fit, as all below
  std::vector<Prediction> predictions;
  std::vector<std::string> remarks;  // to be read before it is believed

  const Fit& fit() const { return chosen == Law::kUsl ? *usl : *amdahl; }
};

// Never empty for a series that is not.
std::vector<Segment> Analyse(const Series& series, const Question& question);

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_ANALYSIS_H_
