// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_REPORT_H_
#define RETPROBE_SCALING_REPORT_H_

#include <string>
#include <vector>

#include "scaling/analysis.h"

namespace retprobe::scaling {

// For people: two lines for each segment, then all remarks.
std::string RenderTable(const std::vector<Segment>& segments,
                        const Question& question);

// For programs.
std::string RenderJson(const std::string& file,
                       const std::vector<Segment>& segments);

// Three digits and a prefix: 26.1M.
std::string Short(double value);

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_REPORT_H_
