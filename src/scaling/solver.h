// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_SOLVER_H_
#define RETPROBE_SCALING_SOLVER_H_

#include <limits>

#include "absl/types/span.h"
#include "scaling/fit.h"

namespace retprobe::scaling {

struct Parameter {
  double value = 0;
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool fixed = false;
};

// A least-squares problem in three parameters that determine a curve: two of
// them directly, and the third such that a figure of interest is a parameter of
// its own, which a profile can then hold.
struct Problem {
  enum class Third { kB, kInverseSquarePeak };

  absl::Span<const Point> points;
  // Threads at which `level` is the logarithm of X. Amid the points it says
  // little about the other two, which a solver likes.
  double at = 1;
  Third third_is = Third::kB;
  Parameter level;
  Parameter a = {.low = 0};
  Parameter third = {.low = 0};

  double SumOfSquares() const;
  double b() const;
  Curve curve() const;
};

// The geometric mean of their numbers of threads.
double MeanThreads(absl::Span<const Point> points);

// Moves the parameters that are not fixed to the next minimum, within their
// bounds, and returns the sum of squares there. All of Ceres is behind this.
double Solve(Problem& problem);

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_SOLVER_H_
