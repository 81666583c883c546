// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_PACKAGES_H_
#define RETPROBE_SCALING_PACKAGES_H_

#include <vector>

#include "absl/status/statusor.h"

namespace retprobe::scaling {

// The numbers of threads, pinned in the order of CPU numbers, that fill whole
// packages with one thread for each core, or with all of them: behind these
// curves have their cliffs. Without the last, which is the whole machine. By
// hwloc, whose environment variables (HWLOC_XMLFILE, HWLOC_SYNTHETIC) apply:
// the measurements may be another machine's.
//
// Errors: kInternal: hwloc failed.
absl::StatusOr<std::vector<int>> PackageSegments();

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_PACKAGES_H_
