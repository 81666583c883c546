// SPDX-License-Identifier: Apache-2.0
#include "coherence/machine.h"

#include <hwloc.h>

#include <algorithm>
#include <memory>
#include <tuple>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace retprobe::bench {
namespace {

struct DestroyTopology {
  void operator()(hwloc_topology_t topology) const {
    hwloc_topology_destroy(topology);
  }
};
using Hwloc =
    std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, DestroyTopology>;

absl::StatusOr<Hwloc> Load(const std::string& description) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) {
    return absl::ResourceExhaustedError("no memory for a topology");
  }
  Hwloc topology(raw);
  const bool xml = !description.empty() && description[0] == '<';
  const int failed =
      xml ? hwloc_topology_set_xmlbuffer(
                raw, description.c_str(),
                static_cast<int>(description.size()) + 1)
          : hwloc_topology_set_synthetic(raw, description.c_str());
  if (failed != 0 || hwloc_topology_load(raw) != 0) {
    return absl::InvalidArgumentError(
        xml ? "not a topology in hwloc's XML"
            : absl::StrCat("not a synthetic topology: \"", description,
                           "\"; expected one like \"pack:2 core:8 pu:2\""));
  }
  return topology;
}

// Requires: a != b.
Distance Measure(hwloc_topology_t topology, hwloc_obj_t a, hwloc_obj_t b) {
  hwloc_obj_t common = hwloc_get_common_ancestor_obj(topology, a, b);
  bool same_package = false;
  for (hwloc_obj_t above = common; above != nullptr; above = above->parent) {
    if (above->type == HWLOC_OBJ_CORE) return Distance::kCore;
    if (hwloc_obj_type_is_cache(above->type)) return Distance::kCache;
    same_package |= above->type == HWLOC_OBJ_PACKAGE;
  }
  if (!same_package) return Distance::kMachine;
  return hwloc_bitmap_isequal(a->nodeset, b->nodeset) ? Distance::kPackage
                                                      : Distance::kNode;
}

}  // namespace

absl::StatusOr<Machine> Machine::Create(const std::string& description) {
  absl::StatusOr<Hwloc> loaded = Load(description);
  if (!loaded.ok()) return loaded.status();
  hwloc_topology_t topology = loaded->get();
  const auto cpus =
      static_cast<uint32_t>(hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU));
  if (cpus > kMaxModelCpus) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the topology has ", cpus, " CPUs; the most is ", kMaxModelCpus));
  }
  Machine machine;
  std::vector<hwloc_obj_t> units(cpus);
  std::vector<std::tuple<unsigned, unsigned, uint32_t>> ranks;
  for (uint32_t i = 0; i < cpus; ++i) {
    hwloc_obj_t unit = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PU, i);
    if (unit->os_index >= cpus) {
      return absl::InvalidArgumentError(
          absl::StrCat("the topology has a CPU ", unit->os_index,
                       "; expected ids below its ", cpus, " CPUs"));
    }
    units[unit->os_index] = unit;
    const bool in_core = unit->parent->type == HWLOC_OBJ_CORE;
    ranks.emplace_back(in_core ? unit->sibling_rank : 0, unit->logical_index,
                       unit->os_index);
  }
  std::sort(ranks.begin(), ranks.end());
  for (const auto& rank : ranks) {
    machine.fill_order_.push_back(std::get<2>(rank));
  }
  for (uint32_t a = 0; a < cpus; ++a) {
    for (uint32_t b = 0; b < cpus; ++b) {
      machine.distances_.push_back(
          a == b ? Distance::kSelf : Measure(topology, units[a], units[b]));
    }
  }
  return machine;
}

}  // namespace retprobe::bench
