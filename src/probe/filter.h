// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_FILTER_H_
#define RETPROBE_PROBE_FILTER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "rethook/call_checks.h"
#include "retprobe/call_filter.h"

namespace retprobe {

// CallChecks with what they point to. Belongs to the registry's lock.
struct Filter : CallChecks {
  std::vector<int32_t> ids;
  CodeSet code;
  uint32_t lists = 0;    // that name it
  bool current = false;  // of a probe
};

// A probe's filter that nothing has to be checked for is null. Freed with the
// last list that names it, once it is not the probe's any more.
struct DropFilter {
  void operator()(Filter* filter) const;
};
using OwnedFilter = std::unique_ptr<Filter, DropFilter>;

// For the calling thread.
// Errors: kInvalidArgument, an impossible thread id, or no thread is left.
absl::StatusOr<OwnedFilter> MakeFilter(const CallFilter& filter);

// One list less names what `checks` is part of.
void UnnameFilter(const CallChecks* checks);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_FILTER_H_
