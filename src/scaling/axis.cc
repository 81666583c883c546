// SPDX-License-Identifier: Apache-2.0
#include "scaling/axis.h"

#include <algorithm>
#include <cmath>

namespace retprobe::scaling {
namespace {

constexpr double kSteps[] = {1, 2, 5};

// The number of a tick in 1, 2, 5, 10, 20, 50, ..., and back.
double DecimalTick(int number) {
  const int power = static_cast<int>(std::floor(number / 3.0));
  return kSteps[number - 3 * power] * std::pow(10, power);
}

int LastTickUpTo(double value) {
  int number = 3 * static_cast<int>(std::floor(std::log10(value))) - 3;
  while (DecimalTick(number + 1) <= value * (1 + 1e-12)) ++number;
  return number;
}

}  // namespace

double Axis::Map(double value) const {
  const double low = ticks.front();
  const double high = ticks.back();
  const double part =
      log ? std::log(std::max(value, low) / low) / std::log(high / low)
          : (value - low) / (high - low);
  return begin + (end - begin) * std::clamp(part, 0.0, 1.0);
}

Axis LinearAxis(double high) {
  const double step = DecimalTick(LastTickUpTo(high / 4));
  Axis axis = {.ticks = {0}};
  for (int i = 1; axis.ticks.back() < high; ++i) axis.ticks.push_back(i * step);
  return axis;
}

Axis PowersOfTwoAxis(double low, double high) {
  double tick = std::exp2(std::floor(std::log2(low)));
  Axis axis = {.log = true, .ticks = {tick}};
  do {
    tick *= 2;
    axis.ticks.push_back(tick);
  } while (tick < high);
  return axis;
}

Axis DecimalLogAxis(double low, double high) {
  const int decades = static_cast<int>(std::log10(high / low));
  const int step = decades < 3 ? 1 : 3 * (1 + decades / 8);
  int number = LastTickUpTo(low);
  if (step != 1) number = 3 * static_cast<int>(std::floor(number / 3.0));
  Axis axis = {.log = true, .ticks = {DecimalTick(number)}};
  do {
    number += step;
    axis.ticks.push_back(DecimalTick(number));
  } while (axis.ticks.back() < high);
  return axis;
}

}  // namespace retprobe::scaling
