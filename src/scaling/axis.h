// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_AXIS_H_
#define RETPROBE_SCALING_AXIS_H_

#include <vector>

namespace retprobe::scaling {

// Where values stand on a drawing, and which are worth a tick.
struct Axis {
  bool log = false;
  std::vector<double> ticks;  // ascending, at least two; the ends included
  double begin = 0, end = 1;  // of the drawing

  // The end of the axis for what lies beyond it.
  double Map(double value) const;
};

// Ticks at 0 and about six multiples of 1, 2 or 5 times a power of ten.
Axis LinearAxis(double high);

// Ticks at powers of two, for numbers of threads; 1 <= low <= high.
Axis PowersOfTwoAxis(double low, double high);

// Ticks at powers of ten, or also at twice and five times these where there are
// few; 0 < low <= high.
Axis DecimalLogAxis(double low, double high);

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_AXIS_H_
