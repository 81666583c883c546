// SPDX-License-Identifier: Apache-2.0
#include "topology/topology.h"

#include <atomic>
#include <utility>

#include "base/cpu.h"

namespace retprobe {
namespace {

// Replaced, never freed: pools point into the old one.
std::atomic<const Topology*> system_topology{nullptr};

}  // namespace

Topology FlatTopology(int cpus) {
  Topology topology;
  topology.cpus = cpus;
  topology.node.assign(cpus, 0);
  topology.steal_order.reserve(static_cast<size_t>(cpus) * (cpus - 1));
  for (int cpu = 0; cpu < cpus; ++cpu) {
    for (int step = 1; step < cpus; ++step) {
      topology.steal_order.push_back((cpu + step) % cpus);
    }
  }
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
