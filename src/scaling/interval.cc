// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "scaling/fit.h"
#include "scaling/solver.h"

namespace retprobe::scaling {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The 97.5 % quantile of Student's t: exact for few degrees of freedom, else by
// the expansion of Cornish and Fisher (to 1 in 1000).
double StudentT(int freedom) {
  constexpr double kExact[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706};
  if (freedom <= static_cast<int>(std::size(kExact))) {
    return kExact[freedom - 1];
  }
  const double x = 1.0 / freedom;
  return 1.959964 + x * (2.372271 + x * (2.822499 + x * (2.555851 + x * 1.59)));
}

// The problem that `fit` solved, at its solution.
Problem Solved(const Fit& fit, double at) {
  Problem problem = {.points = fit.points, .at = at};
  problem.level.value = std::log(fit.curve.At(at));
  problem.a.value = fit.curve.a;
  problem.third.value = fit.curve.b;
  problem.third.fixed = fit.law == Law::kAmdahl;
  return problem;
}

// How much worse the best curve gets that has a certain value of a parameter.
class Profile {
 public:
  Profile(const Fit& fit, Problem solved, Parameter Problem::*parameter)
      : solved_(std::move(solved)), parameter_(parameter) {
    const auto points = static_cast<double>(fit.points.size());
    least_ = points * fit.rms_log * fit.rms_log;
    const int freedom = static_cast<int>(points) - (PointsNeeded(fit.law) - 1);
    const double t = StudentT(freedom);
    // Points that lie on a curve exactly leave rounding, which is no scatter.
    allowed_ = std::sqrt(least_ / freedom) * t + 1e-9;
    (solved_.*parameter_).fixed = true;
  }

  // Where the curves become significantly worse, going from the solution
  // towards `limit`; `limit` if they do not.
  double End(double limit) const {
    const double inside = (solved_.*parameter_).value;
    const double direction = limit < inside ? -1 : 1;
    Side near = {inside, -allowed_};
    Problem problem = solved_;
    for (double step = std::min(std::abs(inside) / 16 + 1e-6, 0.05);;
         step *= 4) {
      if (step > 1e12) return direction * kInfinity;
      const bool at_limit = step >= std::abs(limit - inside);
      const double value = at_limit ? limit : inside + direction * step;
      const Side far = {value, Excess(problem, value)};
      if (far.excess > 0) return Crossing(near, far);
      if (at_limit) return limit;
      near = far;
    }
  }

 private:
  struct Side {
    double value;
    double excess;
  };

  // Nearly linear in the value on either side of the solution; above 0 outside
  // of the interval. `problem` is where the last call came to.
  double Excess(Problem& problem, double value) const {
    (problem.*parameter_).value = value;
    return std::sqrt(std::max(0.0, Solve(problem) - least_)) - allowed_;
  }

  // The zero between two values, by the Illinois method (Dowell and Jarratt,
  // 1971).
  double Crossing(Side near, Side far) const {
    Problem problem = solved_;
    int last = 0;
    for (int i = 0; i < 60; ++i) {
      const double value = (near.value * far.excess - far.value * near.excess) /
                           (far.excess - near.excess);
      if (std::abs(far.value - near.value) <= 1e-5 * std::abs(value)) break;
      const Side middle = {value, Excess(problem, value)};
      if (std::abs(middle.excess) <= 1e-4 * allowed_) return value;
      const int side = middle.excess > 0 ? 1 : -1;
      (side > 0 ? far : near) = middle;
      if (side == last) (side > 0 ? near : far).excess /= 2;
      last = side;
    }
    return far.value;
  }

  Problem solved_;
  Parameter Problem::*parameter_;
  double least_;
  double allowed_;
};

// In 1/peak^2, which is linear in b and 0 for a peak at infinity.
Interval PeakInterval(const Fit& fit) {
  const double peak = fit.curve.Peak();
  if (fit.law == Law::kAmdahl) return {peak, peak};
  Problem problem = Solved(fit, MeanThreads(fit.points));
  problem.third_is = Problem::Third::kInverseSquarePeak;
  problem.a.value = std::min(fit.curve.a, 1.0);
  problem.a.high = 1;
  problem.third.value = 1 / (peak * peak);
  const Profile profile(fit, problem, &Problem::third);
  return {1 / std::sqrt(profile.End(1)), 1 / std::sqrt(profile.End(0))};
}

}  // namespace

Intervals ConfidenceIntervals(const Fit& fit) {
  Intervals intervals;
  intervals.g = ConfidenceIntervalAt(fit, 1);
  const Profile a(fit, Solved(fit, MeanThreads(fit.points)), &Problem::a);
  intervals.a = {a.End(0), a.End(kInfinity)};
  if (fit.law == Law::kUsl) {
    const Profile b(fit, Solved(fit, MeanThreads(fit.points)), &Problem::third);
    intervals.b = {b.End(0), b.End(kInfinity)};
  }
  intervals.peak = PeakInterval(fit);
  return intervals;
}

Interval ConfidenceIntervalAt(const Fit& fit, double threads) {
  const Profile level(fit, Solved(fit, threads), &Problem::level);
  return {std::exp(level.End(-kInfinity)), std::exp(level.End(kInfinity))};
}

}  // namespace retprobe::scaling
