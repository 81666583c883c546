// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TOPOLOGY_CPU_TREE_H_
#define RETPROBE_TOPOLOGY_CPU_TREE_H_

#include <cstdint>
#include <vector>

#include "topology/topology.h"

namespace retprobe {

// A tree of CPUs by its leaves, from left to right.
struct CpuLeaf {
  int cpu;
  int node;  // index of a node, -1: unknown
  int kind;  // CPUs of different kinds (big, little) differ here

  // How deep the last common ancestor with the leaf to the left is; the root
  // is at 0. -1 where there is no common ancestor.
  int depth_shared_with_left;
};

// Distances between nodes by their index; any unit.
struct NodeDistances {
  size_t nodes = 0;
  std::vector<uint64_t> values;  // row by row

  uint64_t Between(int from, int to) const;  // 0 if one is unknown
};

// Fills in what StealCursor reads. `leaves` has each CPU below `topology.cpus`
// once.
void FillInStealOrder(const std::vector<CpuLeaf>& leaves,
                      const NodeDistances& distances, Topology& topology);

}  // namespace retprobe

#endif  // RETPROBE_TOPOLOGY_CPU_TREE_H_
