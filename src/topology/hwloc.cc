// SPDX-License-Identifier: Apache-2.0
#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"
#include "topology/cpu_tree.h"
#include "topology/memory.h"
#include "topology/topology.h"

// The only file of the library that knows hwloc.

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
  // CPUs and nodes outside our cgroup, too: it may grow.
  hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  return Hwloc(topology);
}

absl::Status Load(hwloc_topology_t topology) {
  if (hwloc_topology_load(topology) == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("hwloc cannot load the topology: ", strerror(errno)));
}

// The NUMA nodes by id.
std::vector<hwloc_obj_t> NodesOf(hwloc_topology_t topology) {
  std::vector<hwloc_obj_t> nodes;
  hwloc_obj_t node = nullptr;
  while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE,
                                            node)) != nullptr) {
    nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end(), [](hwloc_obj_t a, hwloc_obj_t b) {
    return a->os_index < b->os_index;
  });
  return nodes;
}

// Of several nodes that a CPU is local to, the one with the smallest id is its
// own in the kernel's eyes: memory of other kinds is counted after that.
int NodeIndexOf(const std::vector<hwloc_obj_t>& nodes, hwloc_obj_t pu) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (hwloc_bitmap_isincluded(pu->cpuset, nodes[i]->cpuset)) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

// Latencies between NUMA nodes; nothing where the machine does not tell.
NodeDistances DistancesOf(hwloc_topology_t topology,
                          const std::vector<hwloc_obj_t>& nodes) {
  NodeDistances result;
  unsigned count = 1;
  hwloc_distances_s* found = nullptr;
  if (hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &count, &found,
                                  HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
      count == 0) {
    return result;
  }
  result.nodes = nodes.size();
  for (const hwloc_obj_t from : nodes) {
    for (const hwloc_obj_t to : nodes) {
      uint64_t there = 0;
      uint64_t back = 0;
      hwloc_distances_obj_pair_values(found, from, to, &there, &back);
      result.values.push_back(there);
    }
  }
  hwloc_distances_release(topology, found);
  return result;
}

hwloc_obj_t CpuParentOf(hwloc_obj_t node) {
  while (hwloc_obj_type_is_memory(node->type)) node = node->parent;
  return node;
}

// By distance; where that is equal or unknown, by the tree; then by id.
std::vector<uint16_t> NodeOrderOf(hwloc_topology_t topology,
                                  const std::vector<hwloc_obj_t>& nodes,
                                  const NodeDistances& distances) {
  using Other = std::tuple<bool, uint64_t, int, uint16_t>;
  std::vector<uint16_t> order;
  for (size_t from = 0; from < nodes.size(); ++from) {
    std::vector<Other> others;
    for (size_t to = 0; to < nodes.size(); ++to) {
      const hwloc_obj_t ancestor = hwloc_get_common_ancestor_obj(
          topology, CpuParentOf(nodes[from]), CpuParentOf(nodes[to]));
      others.emplace_back(from != to, distances.Between(from, to),
                          -ancestor->depth, nodes[to]->os_index);
    }
    std::sort(others.begin(), others.end());
    for (const Other& other : others) order.push_back(std::get<3>(other));
  }
  return order;
}

// The CPUs below `cpus` as hwloc's tree has them, then those it does not know.
std::vector<CpuLeaf> LeavesOf(hwloc_topology_t topology,
                              const std::vector<hwloc_obj_t>& nodes, int cpus) {
  std::vector<CpuLeaf> leaves;
  std::vector<bool> known(cpus, false);
  hwloc_obj_t left = nullptr;
  hwloc_obj_t pu = nullptr;
  while ((pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu)) !=
         nullptr) {
    if (pu->os_index >= static_cast<unsigned>(cpus)) continue;
    known[pu->os_index] = true;
    leaves.push_back(
        {static_cast<int>(pu->os_index), NodeIndexOf(nodes, pu),
         hwloc_cpukinds_get_by_cpuset(topology, pu->cpuset, 0),
         left != nullptr
             ? hwloc_get_common_ancestor_obj(topology, left, pu)->depth
             : -1});
    left = pu;
  }
  for (int cpu = 0; cpu < cpus; ++cpu) {
    if (!known[cpu]) leaves.push_back({cpu, -1, -1, -1});
  }
  return leaves;
}

// `topology` is configured but not loaded.
absl::StatusOr<Topology> Convert(hwloc_topology_t topology, int least_cpus) {
  hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
  if (absl::Status status = Load(topology); !status.ok()) return status;
  Topology result;
  const int highest =
      hwloc_bitmap_last(hwloc_topology_get_complete_cpuset(topology));
  result.cpus = std::min(kMaxCpus, std::max(least_cpus, highest + 1));
  const std::vector<hwloc_obj_t> nodes = NodesOf(topology);
  if (result.cpus < 1 || nodes.empty()) {
    return absl::InternalError("hwloc found no CPU or no memory");
  }
  const NodeDistances distances = DistancesOf(topology, nodes);
  const std::vector<CpuLeaf> leaves = LeavesOf(topology, nodes, result.cpus);
  FillInStealOrder(leaves, distances, result);
  result.node_order = NodeOrderOf(topology, nodes, distances);
  for (const hwloc_obj_t node : nodes) result.nodes.push_back(node->os_index);
  result.node.assign(result.cpus, -1);
  for (const CpuLeaf& leaf : leaves) {
    if (leaf.node >= 0) result.node[leaf.cpu] = result.nodes[leaf.node];
  }
  return result;
}

struct BitmapDeleter {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, BitmapDeleter>;

// This machine's NUMA nodes, and what binds memory to them. Loaded at the first
// use and kept, but for the CPUs' details, which are most of a topology.
struct Binder {
  Binder() : topology(NewHwloc()) {
    if (topology == nullptr) return;
    hwloc_topology_set_all_types_filter(topology.get(),
                                        HWLOC_TYPE_FILTER_KEEP_NONE);
    // Nodes without a parent of their own seem local to all CPUs.
    hwloc_topology_set_type_filter(topology.get(), HWLOC_OBJ_GROUP,
                                   HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
    if (Load(topology.get()).ok()) nodes = NodesOf(topology.get());
  }

  // Never destroyed: pools may outlive static objects.
  static const Binder& Get() {
    static const auto* binder = new Binder();
    return *binder;
  }

  Hwloc topology;
  std::vector<hwloc_obj_t> nodes;
};

absl::Status SetArea(const Binder& binder, void* address, size_t bytes,
                     const Bitmap& nodes, hwloc_membind_policy_t policy) {
  // Without HWLOC_MEMBIND_STRICT "bind" is what Linux calls preferred.
  if (hwloc_set_area_membind(
          binder.topology.get(), address, bytes, nodes.get(), policy,
          HWLOC_MEMBIND_BYNODESET | HWLOC_MEMBIND_MIGRATE) == 0) {
    return absl::OkStatus();
  }
  char* names = nullptr;
  hwloc_bitmap_list_asprintf(&names, nodes.get());
  absl::Status status = absl::FailedPreconditionError(absl::StrCat(
      "memory cannot be placed on NUMA node ", names == nullptr ? "?" : names,
      ", which has none or is forbidden to this process: ", strerror(errno)));
  std::free(names);
  return status;
}

}  // namespace

absl::Status BindMemory(void* address, size_t bytes, int node) {
  const Binder& binder = Binder::Get();
  if (binder.nodes.size() <= 1) return absl::OkStatus();
  Topology known;
  for (const hwloc_obj_t each : binder.nodes) {
    known.nodes.push_back(static_cast<int>(each->os_index));
  }
  if (!known.HasNode(node)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no NUMA node ", node, ", only ", known.NodeList()));
  }
  const Bitmap only(hwloc_bitmap_alloc());
  hwloc_bitmap_only(only.get(), node);
  return SetArea(binder, address, bytes, only, HWLOC_MEMBIND_BIND);
}

absl::Status InterleaveMemory(void* address, size_t bytes) {
  const Binder& binder = Binder::Get();
  if (binder.nodes.size() <= 1) return absl::OkStatus();
  const Bitmap nodes(hwloc_bitmap_alloc());
  hwloc_obj_t pu = nullptr;
  while ((pu = hwloc_get_next_obj_by_type(binder.topology.get(), HWLOC_OBJ_PU,
                                          pu)) != nullptr) {
    const int own = NodeIndexOf(binder.nodes, pu);
    if (own >= 0) hwloc_bitmap_set(nodes.get(), binder.nodes[own]->os_index);
  }
  return SetArea(binder, address, bytes, nodes, HWLOC_MEMBIND_INTERLEAVE);
}

absl::StatusOr<int> NodeOfPage(const void* address) {
  const Binder& binder = Binder::Get();
  const Bitmap nodes(hwloc_bitmap_alloc());
  if (binder.topology == nullptr ||
      hwloc_get_area_memlocation(binder.topology.get(), address, 1, nodes.get(),
                                 HWLOC_MEMBIND_BYNODESET) != 0) {
    return absl::UnimplementedError(absl::StrCat(
        "the system does not tell where a page is: ", strerror(errno)));
  }
  const int node = hwloc_bitmap_first(nodes.get());
  if (node < 0) return absl::NotFoundError("no memory was touched there");
  return node;
}

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
