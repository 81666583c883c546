// SPDX-License-Identifier: Apache-2.0
#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"
#include "topology/topology.h"

// The only file that knows hwloc.

namespace retprobe {
namespace {

struct HwlocDeleter {
  void operator()(hwloc_topology_t topology) const {
    hwloc_topology_destroy(topology);
  }
};
using Hwloc = std::unique_ptr<hwloc_topology, HwlocDeleter>;

Hwloc NewHwloc() {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology) != 0) return nullptr;
  return Hwloc(topology);
}

// Latencies between NUMA nodes, where the machine tells them.
class Distances {
 public:
  explicit Distances(hwloc_topology_t topology) : topology_(topology) {
    unsigned count = 1;
    if (hwloc_distances_get_by_type(
            topology, HWLOC_OBJ_NUMANODE, &count, &distances_,
            HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
        count == 0) {
      distances_ = nullptr;
    }
  }
  ~Distances() {
    if (distances_ != nullptr) hwloc_distances_release(topology_, distances_);
  }
  Distances(const Distances&) = delete;
  Distances& operator=(const Distances&) = delete;

  uint64_t Between(hwloc_obj_t from, hwloc_obj_t to) const {
    if (distances_ == nullptr || from == nullptr || to == nullptr) return 0;
    uint64_t there = 0;
    uint64_t back = 0;
    if (hwloc_distances_obj_pair_values(distances_, from, to, &there, &back) !=
        0) {
      return 0;
    }
    return there;
  }

 private:
  hwloc_topology_t topology_;
  hwloc_distances_s* distances_ = nullptr;
};

hwloc_obj_t NodeOf(hwloc_topology_t topology, hwloc_obj_t pu) {
  hwloc_obj_t node = nullptr;
  while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE,
                                            node)) != nullptr) {
    if (hwloc_bitmap_isincluded(pu->cpuset, node->cpuset)) return node;
  }
  return nullptr;
}

struct Place {
  hwloc_obj_t pu = nullptr;  // null: hwloc does not know this CPU
  hwloc_obj_t node = nullptr;
};

std::vector<Place> PlacesByCpu(hwloc_topology_t topology, int cpus) {
  std::vector<Place> places(cpus);
  hwloc_obj_t pu = nullptr;
  while ((pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu)) !=
         nullptr) {
    if (pu->os_index < static_cast<unsigned>(cpus)) {
      places[pu->os_index] = {pu, NodeOf(topology, pu)};
    }
  }
  return places;
}

// Deepest common ancestor first, then the nearer NUMA node; where both are
// equal, in a circle from one's own id on.
void AppendStealOrder(hwloc_topology_t topology, const Distances& distances,
                      const std::vector<Place>& places, int cpu,
                      std::vector<uint16_t>& order) {
  const Place& own = places[cpu];
  using Other = std::tuple<int, uint64_t, uint16_t>;
  std::vector<Other> others;
  others.reserve(places.size());
  for (size_t id = 0; id < places.size(); ++id) {
    if (id == static_cast<size_t>(cpu)) continue;
    const Place& other = places[id];
    int depth = -1;
    if (own.pu != nullptr && other.pu != nullptr) {
      depth = hwloc_get_common_ancestor_obj(topology, own.pu, other.pu)->depth;
    }
    others.emplace_back(-depth, distances.Between(own.node, other.node), id);
  }
  std::sort(others.begin(), others.end());
  for (auto begin = others.begin(); begin != others.end();) {
    const auto end =
        std::find_if(begin, others.end(), [&begin](const Other& other) {
          return std::get<0>(other) != std::get<0>(*begin) ||
                 std::get<1>(other) != std::get<1>(*begin);
        });
    std::rotate(begin, begin + cpu % (end - begin), end);
    begin = end;
  }
  for (const Other& other : others) order.push_back(std::get<2>(other));
}

int HighestPu(hwloc_topology_t topology) {
  return hwloc_bitmap_last(hwloc_topology_get_complete_cpuset(topology));
}

// `topology` is configured but not loaded.
absl::StatusOr<Topology> Convert(hwloc_topology_t topology, int least_cpus) {
  hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
  // CPUs outside our cgroup, too: it may grow.
  hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  if (hwloc_topology_load(topology) != 0) {
    return absl::InternalError(
        absl::StrCat("hwloc cannot load the topology: ", strerror(errno)));
  }
  Topology result;
  result.cpus =
      std::min(kMaxCpus, std::max(least_cpus, HighestPu(topology) + 1));
  if (result.cpus < 1) return absl::InternalError("hwloc found no CPU");
  const std::vector<Place> places = PlacesByCpu(topology, result.cpus);
  const Distances distances(topology);
  result.steal_order.reserve(static_cast<size_t>(result.cpus) *
                             (result.cpus - 1));
  for (int cpu = 0; cpu < result.cpus; ++cpu) {
    const hwloc_obj_t node = places[cpu].node;
    result.node.push_back(node != nullptr ? static_cast<int>(node->os_index)
                                          : -1);
    AppendStealOrder(topology, distances, places, cpu, result.steal_order);
  }
  return result;
}

}  // namespace

absl::StatusOr<Topology> LoadTopology() {
  const Hwloc topology = NewHwloc();
  if (topology == nullptr) return absl::InternalError("hwloc has no memory");
  return Convert(topology.get(), PossibleCpus());
}

absl::StatusOr<Topology> SyntheticTopology(const std::string& description) {
  const Hwloc topology = NewHwloc();
  if (topology == nullptr) return absl::InternalError("hwloc has no memory");
  if (hwloc_topology_set_synthetic(topology.get(), description.c_str()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a synthetic topology: \"", description, "\""));
  }
  return Convert(topology.get(), 1);
}

absl::StatusOr<Topology> TopologyFromXml(const std::string& xml) {
  const Hwloc topology = NewHwloc();
  if (topology == nullptr) return absl::InternalError("hwloc has no memory");
  if (hwloc_topology_set_xmlbuffer(topology.get(), xml.c_str(),
                                   static_cast<int>(xml.size()) + 1) != 0) {
    return absl::InvalidArgumentError("not a topology in hwloc's XML");
  }
  return Convert(topology.get(), 1);
}

Topology DetectTopology() {
  absl::StatusOr<Topology> found = LoadTopology();
  return found.ok() ? *std::move(found) : FlatTopology(PossibleCpus());
}

}  // namespace retprobe
