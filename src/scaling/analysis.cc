// SPDX-License-Identifier: Apache-2.0
#include "scaling/analysis.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace retprobe::scaling {
namespace {

// Root mean square of log X above which a law does not describe the points.
constexpr double kPoorFit = 0.2;

// Extrapolation by more than this factor deserves a remark.
constexpr double kFar = 2;

void Choose(Segment& segment, const std::optional<Law>& wanted) {
  auto amdahl = FitLaw(Law::kAmdahl, segment.points);
  auto usl = FitLaw(Law::kUsl, segment.points);
  if (amdahl.ok()) segment.amdahl = *std::move(amdahl);
  if (usl.ok()) segment.usl = *std::move(usl);
  if (wanted.has_value()) {
    segment.chosen = *wanted;
    const absl::Status& status =
        *wanted == Law::kUsl ? usl.status() : amdahl.status();
    segment.error = std::string(status.message());
  } else if (!segment.amdahl.has_value()) {
    segment.error = std::string(amdahl.status().message());
  } else if (!segment.usl.has_value() ||
             segment.amdahl->aicc <= segment.usl->aicc) {
    segment.chosen = Law::kAmdahl;
    if (!segment.usl.has_value() || std::isinf(segment.usl->aicc)) {
      segment.remarks.push_back(
          absl::StrCat("only ", segment.points.size(),
                       " points: too few to tell Amdahl's law from the USL "
                       "(6 are needed)"));
    }
  }
}

void Remark(Segment& segment, bool in_segments) {
  const Fit& fit = segment.fit();
  if (fit.rms_log > kPoorFit) {
    segment.remarks.push_back(absl::StrCat(
        "the law does not fit: its residuals (rms of log X) are above ",
        kPoorFit,
        in_segments ? ""
                    : "; throughput often falls off where another socket or "
                      "the second thread of each core joins, so try "
                      "--segments"));
  }
  const double peak = fit.curve.Peak();
  if (std::isfinite(peak) && peak > kFar * segment.to) {
    segment.remarks.push_back(absl::StrCat(
        "the peak lies beyond twice the measured range (", segment.to, ")"));
  }
  for (const Prediction& prediction : segment.predictions) {
    if (prediction.threads <= kFar * segment.to) continue;
    segment.remarks.push_back(
        absl::StrCat("the prediction for ", prediction.threads,
                     " threads extrapolates beyond twice the measured range (",
                     segment.to, ")"));
  }
}

// One segment, of the numbers of threads above `after` up to `last`.
Segment AnalyseRange(const Series& series, const Question& question,
                     double after, double last) {
  Segment segment = {.series = series.name};
  for (const Point& point : series.points) {
    if (point.threads > after && point.threads <= last) {
      segment.points.push_back(point);
    }
  }
  std::stable_sort(
      segment.points.begin(), segment.points.end(),
      [](const Point& x, const Point& y) { return x.threads < y.threads; });
  if (segment.points.empty()) return segment;
  segment.from = segment.points.front().threads;
  segment.to = segment.points.back().threads;
  Choose(segment, question.law);
  if (!segment.error.empty()) return segment;
  segment.intervals = ConfidenceIntervals(segment.fit());
  for (const int threads : question.predict) {
    if (threads <= after || threads > last) continue;
    segment.predictions.push_back(
        {threads, segment.fit().curve.At(threads),
         ConfidenceIntervalAt(segment.fit(), threads)});
  }
  Remark(segment, !question.segments.empty());
  return segment;
}

}  // namespace

std::vector<Segment> Analyse(const Series& series, const Question& question) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<Segment> result;
  double most = 0;
  for (const Point& point : series.points) most = std::max(most, point.threads);
  double after = 0;
  for (const double end : question.segments) {
    // What lies beyond the measured range belongs to the last segment.
    if (end >= most) break;
    result.push_back(AnalyseRange(series, question, after, end));
    after = end;
  }
  result.push_back(AnalyseRange(series, question, after, kInfinity));
  result.erase(std::remove_if(result.begin(), result.end(),
                              [](const Segment& segment) {
                                return segment.points.empty();
                              }),
               result.end());
  if (result.empty()) {
    result.push_back(
        {.series = series.name, .error = "no throughput was measured"});
  }
  return result;
}

}  // namespace retprobe::scaling
