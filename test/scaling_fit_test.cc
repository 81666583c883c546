// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "scaling/fit.h"
#include "scaling/law.h"

namespace retprobe::scaling {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kThreads[] = {1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 96};

// Measurements that scatter around a curve by `noise` (0.05: 5 %).
std::vector<Point> Measure(const Curve& curve, double noise, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> scatter(0, 1);
  std::vector<Point> points;
  for (const double threads : kThreads) {
    points.push_back(
        {threads, curve.At(threads) * std::exp(noise * scatter(random))});
  }
  return points;
}

Fit FitOf(Law law, const std::vector<Point>& points) {
  const auto fit = FitLaw(law, points);
  REQUIRE_MESSAGE(fit.ok(), fit.status().ToString());
  return *fit;
}

bool Holds(const Interval& interval, double value) {
  return interval.low <= value && value <= interval.high;
}

std::string ErrorOf(Law law, const std::vector<Point>& points) {
  const auto fit = FitLaw(law, points);
  REQUIRE(!fit.ok());
  CHECK(fit.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(fit.status().message());
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Fits of a published set of raw queue measurements, as somebody else's fit
// found them: g in M/s, a, b, peak. The figures, not the measurements.
struct Golden {
  Curve curve;
  double peak;
};
constexpr Golden kGolden[] = {
    {{26.1, 5.2, 0.85}, 1},          // one LIFO for all
    {{22.1, 0.39, 4.3e-3}, 12},      // per-CPU freelist as BPF had it
    {{17.9, 6.3e-3, 1.8e-3}, 23},    // per-CPU freelist
    {{30.8, 0, 3.4e-4}, 55},         // ring, two sockets
    {{20.95, 5.4e-5, 0}, kInfinity}  // ring, linear
};

}  // namespace

TEST_CASE("a curve peaks where its derivative is zero") {
  for (const Golden& golden : kGolden) {
    const Curve& curve = golden.curve;
    const double peak = curve.Peak();
    if (std::isinf(golden.peak)) {
      CHECK(std::isinf(peak));
      continue;
    }
    CHECK(std::abs(peak - golden.peak) < 1);  // of rounded figures
    if (peak == 1) continue;
    CHECK(curve.At(peak) > curve.At(peak * 0.99));
    CHECK(curve.At(peak) > curve.At(peak * 1.01));
  }
}

TEST_CASE("one thread is the peak of what gets slower or not faster") {
  CHECK(Curve{1, 1, 0}.Peak() == 1);
  CHECK(Curve{1, 2, 0}.Peak() == 1);
  CHECK(Curve{1, 0.5, 0.5}.Peak() == 1);
  CHECK(Curve{1, 0.9, 0.4}.Peak() == 1);
  CHECK(Curve{1, 0.9, 0}.Peak() == kInfinity);
}

TEST_CASE("points on a curve give its parameters back") {
  for (const Golden& golden : kGolden) {
    const Fit fit = FitOf(Law::kUsl, Measure(golden.curve, 0, 1));
    CHECK(fit.curve.g == doctest::Approx(golden.curve.g).epsilon(1e-6));
    CHECK(std::abs(fit.curve.a - golden.curve.a) <=
          1e-5 * golden.curve.a + 1e-7);
    CHECK(std::abs(fit.curve.b - golden.curve.b) <=
          1e-5 * golden.curve.b + 1e-9);
    CHECK(fit.rms_log < 1e-6);
  }
}

TEST_CASE("noisy points give parameters near the true ones") {
  for (const Golden& golden : kGolden) {
    const Fit fit = FitOf(Law::kUsl, Measure(golden.curve, 0.02, 42));
    CHECK(fit.curve.g == doctest::Approx(golden.curve.g).epsilon(0.06));
    CHECK(std::abs(fit.curve.a - golden.curve.a) <=
          0.15 * golden.curve.a + 0.003);
    CHECK(std::abs(fit.curve.b - golden.curve.b) <=
          0.15 * golden.curve.b + 3e-5);
    CHECK(fit.rms_log < 0.03);
  }
}

TEST_CASE("residuals are relative: the unit and the large figures weigh not") {
  // One measurement of the slow end is off by 20 %, in a series that grows a
  // thousandfold: it moves the curve as much as one at the fast end would.
  const Curve curve = {1, 0, 0};
  std::vector<Point> low = Measure(curve, 0, 1);
  std::vector<Point> high = low;
  low.front().throughput *= 1.2;
  high.back().throughput *= 1.2;
  const Fit slow = FitOf(Law::kAmdahl, low);
  const Fit fast = FitOf(Law::kAmdahl, high);
  CHECK(slow.curve.g > 1.005);
  CHECK(fast.rms_log < 0.06);
  CHECK(slow.rms_log < 0.06);
  for (Point& point : low) point.throughput *= 1e9;
  const Fit scaled = FitOf(Law::kAmdahl, low);
  CHECK(scaled.curve.g == doctest::Approx(slow.curve.g * 1e9).epsilon(1e-6));
  CHECK(scaled.rms_log == doctest::Approx(slow.rms_log).epsilon(1e-6));
}

TEST_CASE("noise of a percentage at every size is what the fit expects") {
  // With residuals of X itself the slow points would not count: a freelist's
  // g and a, which only they show, would be lost in the noise of the others.
  const Curve collapse = {30e6, 0.4, 0.01};
  double worst = 0;
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::vector<Point> points = Measure(collapse, 0.05, seed);
    for (Point& point : points) {
      if (point.threads == 1) point.throughput = collapse.At(1);
    }
    const Fit fit = FitOf(Law::kUsl, points);
    worst =
        std::max(worst, std::abs(std::log(fit.curve.At(96) / collapse.At(96))));
  }
  CHECK(worst < 0.1);
}

TEST_CASE("95 % intervals hold the truth in 88 to 99 of 100 data sets") {
  constexpr int kSets = 200;
  const Curve truth = {1e6, 0.02, 2e-4};
  int g = 0, a = 0, b = 0, peak = 0, prediction = 0;
  for (int set = 0; set < kSets; ++set) {
    const Fit fit = FitOf(Law::kUsl, Measure(truth, 0.05, 1000 + set));
    const Intervals intervals = ConfidenceIntervals(fit);
    g += Holds(intervals.g, truth.g);
    a += Holds(intervals.a, truth.a);
    b += Holds(intervals.b, truth.b);
    peak += Holds(intervals.peak, truth.Peak());
    prediction += Holds(ConfidenceIntervalAt(fit, 128), truth.At(128));
    CHECK(Holds(intervals.peak, fit.curve.Peak()));
  }
  for (const int covered : {g, a, b, peak, prediction}) {
    CAPTURE(covered);
    CHECK(covered >= 0.88 * kSets);
    CHECK(covered <= 0.99 * kSets);
  }
}

TEST_CASE("so do those of Amdahl's law") {
  constexpr int kSets = 200;
  const Curve truth = {1e6, 0.05, 0};
  int g = 0, a = 0;
  for (int set = 0; set < kSets; ++set) {
    const Fit fit = FitOf(Law::kAmdahl, Measure(truth, 0.05, 3000 + set));
    const Intervals intervals = ConfidenceIntervals(fit);
    g += Holds(intervals.g, truth.g);
    a += Holds(intervals.a, truth.a);
  }
  for (const int covered : {g, a}) {
    CAPTURE(covered);
    CHECK(covered >= 0.88 * kSets);
    CHECK(covered <= 0.99 * kSets);
  }
}

TEST_CASE("the criterion prefers Amdahl's law just where it holds") {
  int amdahl_of_amdahl = 0, amdahl_of_usl = 0;
  for (unsigned seed = 0; seed < 100; ++seed) {
    const auto without = Measure({1e6, 0.05, 0}, 0.05, seed);
    const auto with = Measure({1e6, 0.05, 5e-4}, 0.05, seed);
    amdahl_of_amdahl +=
        FitOf(Law::kAmdahl, without).aicc < FitOf(Law::kUsl, without).aicc;
    amdahl_of_usl +=
        FitOf(Law::kAmdahl, with).aicc < FitOf(Law::kUsl, with).aicc;
  }
  CHECK(amdahl_of_amdahl >= 90);
  CHECK(amdahl_of_usl <= 5);
}

TEST_CASE("the criterion is Hurvich and Tsai's, and infinite for few points") {
  const auto points = Measure({1e6, 0.05, 5e-4}, 0.05, 7);
  const Fit fit = FitOf(Law::kUsl, points);
  const double n = static_cast<double>(points.size());
  const double expected =
      n * std::log(fit.rms_log * fit.rms_log) + 2 * 4 + 2. * 4 * 5 / (n - 5);
  CHECK(fit.aicc == doctest::Approx(expected));
  const std::vector<Point> five(points.begin(), points.begin() + 5);
  CHECK(std::isinf(FitOf(Law::kUsl, five).aicc));
  CHECK(std::isfinite(FitOf(Law::kAmdahl, five).aicc));
}

TEST_CASE("at a bound the fit is the best one with the parameter held there") {
  // Better than linear: contention below 0 would fit better still.
  std::vector<Point> faster;
  for (const double threads : kThreads) {
    faster.push_back({threads, std::pow(threads, 1.1)});
  }
  const Fit fit = FitOf(Law::kUsl, faster);
  CHECK(fit.curve.a == 0);
  CHECK(fit.curve.b == 0);
  const Intervals intervals = ConfidenceIntervals(fit);
  CHECK(intervals.a.low == 0);
  CHECK(intervals.b.low == 0);
  CHECK(std::isinf(intervals.peak.high));

  // Only b at its bound: the same as Amdahl's law.
  int bounded = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto points = Measure({1, 0.05, 0}, 0.05, seed);
    const Fit usl = FitOf(Law::kUsl, points);
    const Fit amdahl = FitOf(Law::kAmdahl, points);
    CHECK(usl.rms_log <= amdahl.rms_log * (1 + 1e-9));
    if (usl.curve.b != 0) continue;
    ++bounded;
    CHECK(std::isinf(usl.curve.Peak()));
    CHECK(usl.curve.a == doctest::Approx(amdahl.curve.a).epsilon(1e-4));
    CHECK(usl.curve.g == doctest::Approx(amdahl.curve.g).epsilon(1e-4));
  }
  CHECK(bounded >= 3);
}

TEST_CASE("no curve nearby is better, also where a parameter is uncertain") {
  // The best level of a curve with these parameters is known in closed form.
  const auto rms_of = [](const std::vector<Point>& points, double a, double b) {
    const Curve curve = {1, a, b};
    double sum = 0, squares = 0;
    for (const Point& point : points) {
      const double residual =
          std::log(point.throughput / curve.At(point.threads));
      sum += residual;
      squares += residual * residual;
    }
    const double n = static_cast<double>(points.size());
    return std::sqrt(squares / n - (sum / n) * (sum / n));
  };
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Curve truth = {1e6, std::pow(10, -5 + 6 * uniform(random)),
                         std::pow(10, -7 + 7 * uniform(random))};
    auto points = Measure(truth, std::pow(10, -2 + 2 * uniform(random)), seed);
    // A segment begins far from one thread, and says little about g and a.
    if (seed % 3 == 0) points.erase(points.begin(), points.begin() + 7);
    const Fit fit = FitOf(Law::kUsl, points);
    const Curve& c = fit.curve;
    CAPTURE(seed);
    CHECK(fit.rms_log ==
          doctest::Approx(rms_of(points, c.a, c.b)).epsilon(1e-6));
    for (const double factor : {0.5, 0.9, 0.99, 1.01, 1.1, 2.0}) {
      CAPTURE(factor);
      const double least = fit.rms_log * (1 - 1e-6);
      CHECK(rms_of(points, c.a * factor, c.b) >= least);
      CHECK(rms_of(points, c.a, c.b * factor) >= least);
      CHECK(rms_of(points, c.a * factor, c.b * factor) >= least);
      CHECK(rms_of(points, c.a * factor, c.b / factor) >= least);
      CHECK(rms_of(points, c.a + 1e-4 * factor, c.b) >= least);
      CHECK(rms_of(points, c.a, c.b + 1e-6 * factor) >= least);
    }
  }
}

TEST_CASE("throughput that does not grow is contention of 1") {
  std::vector<Point> points;
  for (const double threads : kThreads) points.push_back({threads, 7});
  for (const Law law : {Law::kAmdahl, Law::kUsl}) {
    const Fit fit = FitOf(law, points);
    CHECK(fit.curve.g == doctest::Approx(7).epsilon(1e-6));
    CHECK(fit.curve.a == doctest::Approx(1).epsilon(1e-5));
    CHECK(fit.curve.b < 1e-6);
  }
}

TEST_CASE("a collapse has its peak at one thread, for certain") {
  const Fit fit = FitOf(Law::kUsl, Measure(kGolden[0].curve, 0.05, 3));
  CHECK(fit.curve.Peak() == 1);
  const Intervals intervals = ConfidenceIntervals(fit);
  CHECK(intervals.peak.low == 1);
  CHECK(intervals.peak.high == doctest::Approx(1));
  CHECK(intervals.a.high > kGolden[0].curve.a);
}

TEST_CASE("intervals without scatter are points, and within bounds") {
  const Fit fit = FitOf(Law::kUsl, Measure({1e6, 0.02, 2e-4}, 0, 1));
  const Intervals intervals = ConfidenceIntervals(fit);
  CHECK(intervals.g.low == doctest::Approx(1e6).epsilon(1e-4));
  CHECK(intervals.g.high == doctest::Approx(1e6).epsilon(1e-4));
  CHECK(intervals.a.high == doctest::Approx(0.02).epsilon(1e-3));
  CHECK(intervals.b.low == doctest::Approx(2e-4).epsilon(1e-3));
  CHECK(intervals.peak.low == doctest::Approx(70).epsilon(1e-3));
}

TEST_CASE("what cannot be fitted is refused with the reason") {
  const std::vector<Point> points = Measure({1, 0.1, 0}, 0, 1);
  for (size_t count = 0; count < 3; ++count) {
    const std::vector<Point> few(points.begin(), points.begin() + count);
    CHECK(Contains(ErrorOf(Law::kUsl, few), "at least 4"));
    CHECK(Contains(ErrorOf(Law::kAmdahl, few), "at least 3"));
  }
  CHECK(FitLaw(Law::kAmdahl, {points.data(), 3}).ok());
  CHECK(!FitLaw(Law::kUsl, {points.data(), 3}).ok());

  // Many measurements, all with as many threads.
  CHECK(Contains(ErrorOf(Law::kUsl, {{4, 1}, {4, 2}, {4, 3}, {4, 4}, {4, 5}}),
                 "at 1 number of threads"));
  const double bad[] = {0, -1, kInfinity,
                        std::numeric_limits<double>::quiet_NaN()};
  for (const double throughput : bad) {
    std::vector<Point> changed = points;
    changed[2].throughput = throughput;
    CHECK(Contains(ErrorOf(Law::kUsl, changed), "above 0"));
  }
  for (const double threads : bad) {
    std::vector<Point> changed = points;
    changed[2].threads = threads;
    CHECK(Contains(ErrorOf(Law::kUsl, changed), "at least 1"));
  }
}

}  // namespace retprobe::scaling
