// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_PLOT_H_
#define RETPROBE_SCALING_PLOT_H_

#include <string>
#include <vector>

#include "scaling/analysis.h"

namespace retprobe::scaling {

// Throughput by threads as an SVG document: the points of each series, the
// chosen curves (dashed where they extrapolate to a predicted number of
// threads), and a legend. Both axes logarithmic, or both linear from 0.
std::string RenderSvg(const std::vector<Segment>& segments, bool linear_axes);

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_PLOT_H_
