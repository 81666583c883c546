// SPDX-License-Identifier: Apache-2.0
#include "scaling/solver.h"

#include <ceres/autodiff_cost_function.h>
#include <ceres/problem.h>
#include <ceres/solver.h>

#include <algorithm>
#include <cmath>

namespace retprobe::scaling {
namespace {

template <typename T>
T LogDenominator(const T& a, const T& b, double threads) {
  using std::log;
  const double others = threads - 1;
  return log(1.0 + a * others + b * (threads * others));
}

// log X as the curve has it less log X as measured.
struct Residual {
  Point point;
  double at;
  bool third_is_peak;

  template <typename T>
  bool operator()(const T* level, const T* a, const T* third,
                  T* residual) const {
    const T b = third_is_peak ? *third * (1.0 - *a) : *third;
    *residual = *level + std::log(point.threads / at) -
                LogDenominator(*a, b, point.threads) +
                LogDenominator(*a, b, at) - std::log(point.throughput);
    using std::isfinite;
    return isfinite(*residual);  // else the step went too far
  }
};

Residual ResidualOf(const Problem& problem, const Point& point) {
  return {point, problem.at,
          problem.third_is == Problem::Third::kInverseSquarePeak};
}

void Constrain(Parameter& parameter, ceres::Problem& solver) {
  double* value = &parameter.value;
  if (parameter.fixed) {
    solver.SetParameterBlockConstant(value);
    return;
  }
  if (std::isfinite(parameter.low)) {
    solver.SetParameterLowerBound(value, 0, parameter.low);
  }
  if (std::isfinite(parameter.high)) {
    solver.SetParameterUpperBound(value, 0, parameter.high);
  }
}

bool Within(double value, const Parameter& parameter) {
  return parameter.low <= value && value <= parameter.high;
}

// Takes the bounds away, but holds what is at one, or beyond, there.
void Release(Parameter& parameter, const Parameter& bounds) {
  const double value = std::clamp(parameter.value, bounds.low, bounds.high);
  parameter = {.value = value};
  parameter.fixed = bounds.fixed || value == bounds.low || value == bounds.high;
}

void SolveOnce(Problem& problem) {
  ceres::Problem solver;
  for (const Point& point : problem.points) {
    using Cost = ceres::AutoDiffCostFunction<Residual, 1, 1, 1, 1>;
    solver.AddResidualBlock(new Cost(new Residual(ResidualOf(problem, point))),
                            nullptr, &problem.level.value, &problem.a.value,
                            &problem.third.value);
  }
  for (Parameter* parameter : {&problem.level, &problem.a, &problem.third}) {
    Constrain(*parameter, solver);
  }
  ceres::Solver::Options options;
  options.linear_solver_type = ceres::DENSE_QR;
  options.logging_type = ceres::SILENT;
  options.max_num_iterations = 200;
  options.function_tolerance = 1e-12;
  options.gradient_tolerance = 1e-12;
  options.parameter_tolerance = 1e-10;
  ceres::Solver::Summary summary;
  ceres::Solve(options, &solver, &summary);
}

}  // namespace

double Problem::b() const {
  return third_is == Third::kB ? third.value : third.value * (1 - a.value);
}

Curve Problem::curve() const {
  Curve curve = {.g = 1, .a = a.value, .b = b()};
  curve.g = std::exp(level.value) / curve.At(at);
  return curve;
}

double Problem::SumOfSquares() const {
  double sum = 0;
  for (const Point& point : points) {
    double residual;
    ResidualOf(*this, point)(&level.value, &a.value, &third.value, &residual);
    sum += residual * residual;
  }
  return sum;
}

double MeanThreads(absl::Span<const Point> points) {
  double sum = 0;
  for (const Point& point : points) sum += std::log(point.threads);
  return std::exp(sum / static_cast<double>(points.size()));
}

double Solve(Problem& problem) {
  SolveOnce(problem);
  const double sum = problem.SumOfSquares();
  // Steps that are cut off at a bound only come near to the minimum. Without
  // bounds, and without the parameters that are at theirs, they reach it.
  Problem free = problem;
  bool within = false;
  for (int held = 0; held <= 2 && !within; ++held) {
    Release(free.a, problem.a);
    Release(free.third, problem.third);
    SolveOnce(free);
    within = Within(free.a.value, problem.a) &&
             Within(free.third.value, problem.third);
  }
  if (!within || free.SumOfSquares() >= sum) return sum;
  problem.level.value = free.level.value;
  problem.a.value = free.a.value;
  problem.third.value = free.third.value;
  return problem.SumOfSquares();
}

}  // namespace retprobe::scaling
