// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_HANDLER_LIST_H_
#define RETPROBE_PROBE_HANDLER_LIST_H_

#include <memory>

#include "absl/status/statusor.h"
#include "probe/instance_pools.h"
#include "probe/probe.h"

namespace retprobe {

// Frees a list. Dead probes and filters go with the last list that names them.
//
// Not thread-safe: the registry's lock.
struct FreeList {
  void operator()(HandlerList* list) const;
};
using OwnedList = std::unique_ptr<HandlerList, FreeList>;

// Who listens at `function` now; null: nobody.
// Errors: kResourceExhausted, too many probes or no memory; what
// InstancePools::ForDataSize reports.
absl::StatusOr<OwnedList> MakeHandlerList(PatchedFunction& function,
                                          InstancePools& pools);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_HANDLER_LIST_H_
