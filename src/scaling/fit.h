// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_FIT_H_
#define RETPROBE_SCALING_FIT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "scaling/law.h"

namespace retprobe::scaling {

struct Point {
  double threads = 1;
  double throughput = 0;  // in whatever unit; above 0
};

// The curve that comes nearest to the points: least squares of the residuals of
// log X, since measurements scatter by a percentage.
struct Fit {
  Law law = Law::kUsl;
  Curve curve;
  double rms_log = 0;  // root of the mean square of the residuals
  // Akaike's information criterion, corrected for few points (Hurvich and Tsai,
  // 1989): the lower one of two laws is the one to believe. Infinite when there
  // are too few points to tell: 4 for Amdahl's law, 5 for the USL.
  double aicc = 0;
  std::vector<Point> points;
};

// How many different numbers of threads a fit needs: one more than the law has
// parameters, so that something is left to say how well it fits.
int PointsNeeded(Law law);

// Errors: kInvalidArgument: too few points; a throughput that is not a number
//   above 0; a number of threads below 1.
absl::StatusOr<Fit> FitLaw(Law law, absl::Span<const Point> points);

// Between what a figure lies, with a confidence of 95 %.
struct Interval {
  double low = 0;
  double high = 0;
};

struct Intervals {
  Interval g, a, b, peak;
};

// By profile likelihood: a value belongs to the interval when the best curve
// that has it is not significantly worse than the best of all (F test). Unlike
// intervals from a covariance matrix these respect the bounds and need not be
// symmetric; the peak's may end at infinity.
Intervals ConfidenceIntervals(const Fit& fit);

// Of the curve at so many threads, not of a single measurement there.
Interval ConfidenceIntervalAt(const Fit& fit, double threads);

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_FIT_H_
