// SPDX-License-Identifier: Apache-2.0
//
// What the registry tells of probes and instances.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "probe/registry.h"
#include "rethook/guard.h"

namespace retprobe {
namespace {

using Probe = ReturnProbe::Probe;

uint64_t HitsOf(const ProbeState& state) {
  // relaxed: a count; those that came too late have counted, too.
  return std::min(state.hits.load(std::memory_order_relaxed), state.max_hits);
}

// What the probe has missed since it was attached.
Missed MissedBy(const Probe& probe) {
  Missed missed = Counters(probe.function->site);
  if (probe.before != nullptr) {
    missed.empty -= probe.before->empty;
    missed.recursion -= probe.before->recursion;
    missed.dying -= probe.before->dying;
  }
  // relaxed, all: statistics.
  missed.empty += probe.state.missed_empty.load(std::memory_order_relaxed);
  missed.depth = probe.state.missed_depth.load(std::memory_order_relaxed);
  missed.limit = probe.state.missed_limit.load(std::memory_order_relaxed);
  return missed;
}

// All but what it shares with others of its function.
ProbeInfo InfoOf(const Probe& probe) {
  ProbeInfo info;
  info.function = const_cast<void*>(probe.function->site.function);
  info.state = !probe.enabled  ? ProbeInfo::State::kDisabled
               : !probe.live() ? ProbeInfo::State::kUsedUp
                               : ProbeInfo::State::kEnabled;
  info.missed = MissedBy(probe);
  if (probe.state.max_hits != 0) info.hits = HitsOf(probe.state);
  info.max_hits = probe.state.max_hits;
  info.max_depth = static_cast<int>(probe.state.max_depth);
  info.maxactive = probe.state.maxactive;
  info.data_size = probe.state.data_size;
  info.filtered = probe.filter != nullptr;
  info.entry_only = probe.entry_only;
  info.uses_trap = probe.uses_trap;
  return info;
}

}  // namespace

// relaxed, all three: statistics.
Missed Counters(const Site& site) {
  return {.empty = site.missed_empty.load(std::memory_order_relaxed),
          .recursion = site.missed_recursion.load(std::memory_order_relaxed),
          .dying = site.missed_dying.load(std::memory_order_relaxed)};
}

Missed Registry::MissedOf(const Probe* probe) {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  return MissedBy(*probe);
}

std::vector<ProbeInfo> Registry::List() {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  absl::flat_hash_map<const Site*, size_t> under_way;
  pools_.ForEach([&](ReturnInstance& instance) {
    // relaxed: a snapshot. The list is not freed while we have the lock.
    const HandlerList* list = instance.list.load(std::memory_order_relaxed);
    if (list != nullptr) ++under_way[list->site];
  });
  std::vector<ProbeInfo> infos;
  for (const PatchedFunction& function : storage_) {
    const size_t first = infos.size();
    for (const Probe* p = function.probes; p != nullptr; p = p->next) {
      if (!p->internal) infos.push_back(InfoOf(*p));
    }
    for (size_t i = first; i < infos.size(); ++i) {
      infos[i].probes_on_function = infos.size() - first;
      infos[i].under_way = under_way[&function.site];
    }
  }
  return infos;
}

size_t Registry::Instances() {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  size_t count = 0;
  pools_.ForEach([&](ReturnInstance&) { ++count; });
  return count;
}

size_t Registry::InstancesInUse() {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  size_t count = 0;
  for (const ObjPool* pool : pools_.All()) {
    // Its list alone does not tell: a thread that was interrupted behind that
    // store of the critical section, and went on on another CPU, has left the
    // instance where it was.
    for (void* object : pool->InUse()) {
      const auto& instance = *static_cast<ReturnInstance*>(object);
      // relaxed: a snapshot.
      count += instance.list.load(std::memory_order_relaxed) != nullptr;
    }
  }
  return count;
}

}  // namespace retprobe
