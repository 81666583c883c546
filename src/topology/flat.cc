// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"
#include "topology/memory.h"
#include "topology/topology.h"

// What hwloc.cc defines, for those who must not need hwloc: one node, on which
// all memory is, wherever its pages really come from. (They come from the node
// of the CPU that touches them first.)

namespace retprobe {

Topology DetectTopology() { return FlatTopology(PossibleCpus()); }

absl::Status BindMemory(void* address, size_t bytes, int node) {
  return absl::OkStatus();
}

absl::Status InterleaveMemory(void* address, size_t bytes) {
  return absl::OkStatus();
}

absl::StatusOr<int> NodeOfPage(const void* address) { return 0; }

}  // namespace retprobe
