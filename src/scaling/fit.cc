// SPDX-License-Identifier: Apache-2.0
#include "scaling/fit.h"

#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "scaling/solver.h"

namespace retprobe::scaling {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Residuals below this are rounding: points that lie on the curve exactly must
// not make a criterion of the noise of arithmetic.
constexpr double kRounding = 1e-9;

int Parameters(Law law) { return law == Law::kAmdahl ? 2 : 3; }

absl::Status CheckPoints(Law law, absl::Span<const Point> points) {
  std::set<double> threads;
  for (const Point& point : points) {
    if (!(point.throughput > 0) || !std::isfinite(point.throughput)) {
      return absl::InvalidArgumentError(
          absl::StrCat("throughput ", point.throughput, " at ", point.threads,
                       " threads; it must be above 0"));
    }
    if (!(point.threads >= 1) || !std::isfinite(point.threads)) {
      return absl::InvalidArgumentError(absl::StrCat(
          point.threads, " threads; their number must be at least 1"));
    }
    threads.insert(point.threads);
  }
  const int count = static_cast<int>(threads.size());
  if (count < PointsNeeded(law)) {
    return absl::InvalidArgumentError(
        absl::StrCat("too few points: throughput at ", count,
                     count == 1 ? " number" : " numbers", " of threads; ",
                     law == Law::kAmdahl ? "Amdahl's law" : "the USL",
                     " needs at least ", PointsNeeded(law)));
  }
  return absl::OkStatus();
}

double Aicc(double sum_of_squares, double points, Law law) {
  const double k = Parameters(law) + 1;  // and the variance
  if (points - k - 1 <= 0) return kInfinity;
  const double mean = sum_of_squares / points + kRounding * kRounding;
  return points * std::log(mean) + 2 * k + 2 * k * (k + 1) / (points - k - 1);
}

}  // namespace

int PointsNeeded(Law law) { return Parameters(law) + 1; }

absl::StatusOr<Fit> FitLaw(Law law, absl::Span<const Point> points) {
  const absl::Status status = CheckPoints(law, points);
  if (!status.ok()) return status;
  Problem problem = {.points = points, .at = MeanThreads(points)};
  problem.level.value = std::log(points[0].throughput);
  problem.third.fixed = law == Law::kAmdahl;
  // From linear growth: no other start was seen to lead to another minimum.
  const double sum = Solve(problem);
  const auto count = static_cast<double>(points.size());
  return Fit{.law = law,
             .curve = problem.curve(),
             .rms_log = std::sqrt(sum / count),
             .aicc = Aicc(sum, count, law),
             .points = {points.begin(), points.end()}};
}

}  // namespace retprobe::scaling
