// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_RETIRED_H_
#define RETPROBE_PROBE_RETIRED_H_

#include <cstddef>
#include <vector>

#include "probe/handler_list.h"
#include "probe/instance_pools.h"

namespace retprobe {

// Lists that have been replaced, waiting for the activations that were entered
// with them. An instance names its list for as long as it is out, so instances
// are their own hazard pointers (Michael 2004), and a membarrier stands in for
// the fence on the reader's side.
//
// Not thread-safe: the registry's lock.
class Retired {
 public:
  // Takes `list`, which no Site names any more. Every so often, frees what has
  // gone out of use.
  void Add(OwnedList list, const InstancePools& pools);

  // Frees what is out of use now.
  void Reclaim(const InstancePools& pools);

 private:
  std::vector<OwnedList> lists_;
  size_t reclaim_at_ = 0;
};

}  // namespace retprobe

#endif  // RETPROBE_PROBE_RETIRED_H_
