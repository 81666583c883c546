// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TOPOLOGY_TOPOLOGY_H_
#define RETPROBE_TOPOLOGY_TOPOLOGY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "topology/steal_order.h"

namespace retprobe {

// Where the CPUs and the memory are, as plain data; where it came from is
// forgotten. CPUs that we must not use now are in like all others: a cgroup's
// cpuset and an affinity mask may change while we run.
struct Topology {
  int cpus = 0;  // ids are below this; it may have holes

  // The NUMA node of each CPU, as the system numbers them; -1 where unknown
  // (holes, CPUs that were offline).
  std::vector<int> node;

  // The NUMA nodes' ids, ascending; at least one. Those that have no CPU
  // (memory of another kind) are among them.
  std::vector<int> nodes;

  // Row by row, `nodes.size()` to a row: the nodes as seen from nodes[0],
  // nodes[1], ..., nearest first, that is itself.
  std::vector<uint16_t> node_order;

  // What StealCursor reads. The table points into the vectors: it stays valid
  // when the Topology is moved, but not when it is copied or changed.
  std::vector<uint16_t> cpu_at;
  std::vector<uint16_t> place_of;
  std::vector<uint32_t> first_ring;
  std::vector<StealRing> rings;
  StealTable steal_table() const {
    return {cpu_at.data(), place_of.data(), first_ring.data(), rings.data()};
  }

  // The other CPUs as seen from CPU `cpu`, nearest first: CPUs that share a
  // core, a cache, a node, a package; then by distance of their NUMA nodes;
  // among equally near ones, those of the same kind (big or little) first.
  std::vector<int> StealOrder(int cpu) const;

  bool HasNode(int id) const;

  // Requires: HasNode(id).
  absl::Span<const uint16_t> NodeOrder(int id) const;

  // Ascending.
  std::vector<int> CpusOf(int node) const;

  // For messages, as "0-3, 8".
  std::string NodeList() const;
};

// More CPUs than this are not told apart: Linux has no more either.
inline constexpr int kMaxCpus = 8192;

// All CPUs equally near, on node 0. `cpus`: 1 .. kMaxCpus.
Topology FlatTopology(int cpus);

// The machine's topology as hwloc sees it: its environment variables
// (HWLOC_XMLFILE, HWLOC_SYNTHETIC) apply. Errors: kInternal, hwloc failed.
absl::StatusOr<Topology> LoadTopology();

// A made-up machine in hwloc's notation, as "pack:2 numa:1 l3:2 core:8 pu:2".
// Errors: kInvalidArgument.
absl::StatusOr<Topology> SyntheticTopology(const std::string& description);

// A machine that hwloc once wrote down as XML. Errors: kInvalidArgument.
absl::StatusOr<Topology> TopologyFromXml(const std::string& xml);

// What SystemTopology() finds out when nobody told it. Defined in hwloc.cc;
// a program that must not need hwloc links flat.cc in front of the library.
Topology DetectTopology();

// This process's topology: found out at the first call, or what
// SetSystemTopology said. Covers PossibleCpus() at least.
const Topology& SystemTopology();

// For those who know better, before the first pool is made. Earlier results of
// SystemTopology() stay valid.
void SetSystemTopology(Topology topology);

}  // namespace retprobe

#endif  // RETPROBE_TOPOLOGY_TOPOLOGY_H_
