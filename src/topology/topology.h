// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TOPOLOGY_TOPOLOGY_H_
#define RETPROBE_TOPOLOGY_TOPOLOGY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace retprobe {

// Where the CPUs are, as plain data; where it came from is forgotten.
struct Topology {
  int cpus = 0;  // ids are below this

  // The NUMA node of each CPU, as the system numbers them; -1 where unknown.
  std::vector<int> node;

  // Row by row, `cpus` - 1 to a row: the other CPUs as seen from CPU 0, 1, ...
  // nearest first. Among equally near ones each CPU begins elsewhere, so that
  // thieves do not all turn to the same victim.
  std::vector<uint16_t> steal_order;

  absl::Span<const uint16_t> StealOrder(int cpu) const {
    return absl::MakeConstSpan(steal_order)
        .subspan(static_cast<size_t>(cpu) * (cpus - 1), cpus - 1);
  }
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
