// SPDX-License-Identifier: Apache-2.0
#include "scaling/packages.h"

#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"

// The topology room has no packages: nothing but this needs them.

namespace retprobe::scaling {
namespace {

struct HwlocDeleter {
  void operator()(hwloc_topology_t topology) const {
    hwloc_topology_destroy(topology);
  }
};

// What of a package has a thread pinned to it.
struct Use {
  size_t threads = 0;
  std::set<hwloc_obj_t> cores;
};

// All its cores have a thread each, or as many as they can.
bool IsFull(hwloc_topology_t topology, hwloc_obj_t package, const Use& use) {
  const auto count = [&](hwloc_obj_type_t type) {
    return static_cast<size_t>(hwloc_get_nbobjs_inside_cpuset_by_type(
        topology, package->cpuset, type));
  };
  return use.threads == count(HWLOC_OBJ_PU) ||
         (use.cores.size() == use.threads &&
          use.threads == count(HWLOC_OBJ_CORE));
}

}  // namespace

absl::StatusOr<std::vector<int>> PackageSegments() {
  hwloc_topology_t raw = nullptr;
  const bool ready = hwloc_topology_init(&raw) == 0;
  const std::unique_ptr<hwloc_topology, HwlocDeleter> topology(raw);
  if (!ready || hwloc_topology_load(raw) != 0) {
    return absl::InternalError(absl::StrCat("hwloc: ", strerror(errno)));
  }
  std::vector<int> ends;
  std::map<hwloc_obj_t, Use> uses;  // by package
  int threads = 0;
  unsigned cpu;
  hwloc_bitmap_foreach_begin(cpu, hwloc_topology_get_topology_cpuset(raw)) {
    if (threads != 0 &&
        std::all_of(uses.begin(), uses.end(), [&](const auto& item) {
          return IsFull(raw, item.first, item.second);
        })) {
      ends.push_back(threads);
    }
    const hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(raw, cpu);
    hwloc_obj_t package =
        hwloc_get_ancestor_obj_by_type(raw, HWLOC_OBJ_PACKAGE, pu);
    if (package == nullptr) package = hwloc_get_root_obj(raw);
    Use& use = uses[package];
    ++use.threads;
    use.cores.insert(hwloc_get_ancestor_obj_by_type(raw, HWLOC_OBJ_CORE, pu));
    ++threads;
  }
  hwloc_bitmap_foreach_end();
  return ends;
}

}  // namespace retprobe::scaling
