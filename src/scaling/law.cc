// SPDX-License-Identifier: Apache-2.0
#include "scaling/law.h"

#include <cmath>
#include <limits>

namespace retprobe::scaling {

const char* LawName(Law law) { return law == Law::kAmdahl ? "amdahl" : "usl"; }

double Curve::At(double threads) const {
  const double others = threads - 1;
  return g * threads / (1 + a * others + b * threads * others);
}

double Curve::Peak() const {
  if (a + b >= 1) return 1;
  if (b == 0) return std::numeric_limits<double>::infinity();
  return std::sqrt((1 - a) / b);
}

}  // namespace retprobe::scaling
