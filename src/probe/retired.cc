// SPDX-License-Identifier: Apache-2.0
#include "probe/retired.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "rethook/entering.h"

namespace retprobe {
namespace {

// Lists may wait for ever (a probed main): look again only when as many have
// come as stayed, so that the work per list is constant.
constexpr size_t kReclaimAtLeast = 64;

}  // namespace

void Retired::Add(OwnedList list, const InstancePools& pools) {
  lists_.push_back(std::move(list));
  if (lists_.size() >= std::max(reclaim_at_, kReclaimAtLeast)) Reclaim(pools);
}

void Retired::Reclaim(const InstancePools& pools) {
  reclaim_at_ = 2 * lists_.size();
  if (!WaitForEntering()) return;
  absl::flat_hash_set<const HandlerList*> in_use;
  pools.ForEach([&](ReturnInstance& instance) {
    // A1 <- R2 (rethook/dispatch.cc), R3 (rethook/dispatch.cc)
    // A1 <- R4 (rethook/dispatch.cc): whoever had the instance has done with
    // every list that we do not find here. That we find the others is the doing
    // of WaitForEntering.
    // A1 <- the trampoline, whose plain stores release on x86-64.
    const HandlerList* list = instance.list.load(std::memory_order_acquire);
    if (list != nullptr) in_use.insert(list);
  });
  auto waiting = std::partition(
      lists_.begin(), lists_.end(),
      [&](const OwnedList& list) { return in_use.contains(list.get()); });
  lists_.erase(waiting, lists_.end());
  reclaim_at_ = 2 * lists_.size();
}

}  // namespace retprobe
