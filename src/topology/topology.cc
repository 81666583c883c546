// SPDX-License-Identifier: Apache-2.0
#include "topology/topology.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"
#include "topology/cpu_tree.h"

namespace retprobe {
namespace {

// Replaced, never freed: pools point into the old one.
std::atomic<const Topology*> system_topology{nullptr};

}  // namespace

std::vector<int> Topology::StealOrder(int cpu) const {
  std::vector<int> order;
  uint32_t other = 0;
  for (StealCursor at(steal_table(), cpu); at.Next(other);) {
    order.push_back(static_cast<int>(other));
  }
  return order;
}

bool Topology::HasNode(int id) const {
  return std::binary_search(nodes.begin(), nodes.end(), id);
}

absl::Span<const uint16_t> Topology::NodeOrder(int id) const {
  const size_t row =
      std::lower_bound(nodes.begin(), nodes.end(), id) - nodes.begin();
  return absl::MakeConstSpan(node_order)
      .subspan(row * nodes.size(), nodes.size());
}

std::vector<int> Topology::CpusOf(int id) const {
  std::vector<int> found;
  for (int cpu = 0; cpu < cpus; ++cpu) {
    if (node[cpu] == id) found.push_back(cpu);
  }
  return found;
}

std::string Topology::NodeList() const {
  std::string list;
  for (size_t begin = 0, end; begin < nodes.size(); begin = end) {
    end = begin + 1;
    while (end < nodes.size() && nodes[end] == nodes[end - 1] + 1) ++end;
    absl::StrAppend(&list, list.empty() ? "" : ", ", nodes[begin]);
    if (end - begin > 1) absl::StrAppend(&list, "-", nodes[end - 1]);
  }
  return list;
}

Topology FlatTopology(int cpus) {
  Topology topology;
  topology.cpus = cpus;
  topology.node.assign(cpus, 0);
  topology.nodes = {0};
  topology.node_order = {0};
  std::vector<CpuLeaf> leaves;
  for (int cpu = 0; cpu < cpus; ++cpu) leaves.push_back({cpu, 0, 0, 0});
  FillInStealOrder(leaves, NodeDistances(), topology);
  return topology;
}

const Topology& SystemTopology() {
  // A0 <- R0: the topology is complete.
  const Topology* known = system_topology.load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  Topology found = DetectTopology();
  if (found.cpus < PossibleCpus()) found = FlatTopology(PossibleCpus());
  const auto* mine = new Topology(std::move(found));
  // R0 -> A0: publishes the topology; on failure A0 again, whose is returned.
  if (system_topology.compare_exchange_strong(
          known, mine, std::memory_order_acq_rel, std::memory_order_acquire)) {
    return *mine;
  }
  delete mine;
  return *known;
}

void SetSystemTopology(Topology topology) {
  // R0 -> A0: publishes the topology.
  system_topology.store(new Topology(std::move(topology)),
                        std::memory_order_release);
}

}  // namespace retprobe
