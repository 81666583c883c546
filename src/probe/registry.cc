// SPDX-License-Identifier: Apache-2.0
#include "probe/registry.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "probe/frame_finder.h"
#include "probe/handler_list.h"
#include "rethook/guard.h"
#include "rethook/prepare.h"
#include "rethook/trampoline.h"
#include "symbols/unwind_table.h"

namespace retprobe {
namespace {

using Probe = ReturnProbe::Probe;

Registry* g_forking;  // set once

}  // namespace

void GuardProcess() { Registry::Get(); }

Registry& Registry::Get() {
  static Registry* const registry = new Registry;
  return *registry;
}

Registry::Registry() : ready_(PrepareTrampoline()) {
  if (ready_.ok()) Guard();
  // A child inherits the lock as it was: free.
  g_forking = this;
  pthread_atfork([] { g_forking->mutex_.lock(); },
                 [] { g_forking->mutex_.unlock(); },
                 [] {
                   g_forking->ForgetOtherThreads();
                   g_forking->mutex_.unlock();
                 });
}

absl::StatusOr<PatchedFunction*> Registry::Prepare(void* function) {
  const auto it = functions_.find(static_cast<const void*>(function));
  const bool known = it != functions_.end();
  if (!known && IsInsideFrame(reinterpret_cast<uintptr_t>(function))) {
    return absl::FailedPreconditionError(
        "begins inside a frame: it is a part of another function");
  }
  PatchedFunction& entry = known ? **it : storage_.emplace_back();
  // Asked even for a known one: its module may have gone and another come.
  absl::StatusOr<EntryPatch*> patch =
      PrepareEntryPatch(reinterpret_cast<uintptr_t>(function), 0, &entry.site);
  if (!patch.ok()) {
    if (!known) storage_.pop_back();
    return patch.status();
  }
  if (entry.patch == *patch) return &entry;
  entry.patch = *patch;
  entry.site.function = function;
  entry.site.bypass = reinterpret_cast<const void*>((*patch)->bypass());
  // relaxed, both: before publication.
  entry.site.entry.store(entry.site.bypass, std::memory_order_relaxed);
  if (!known) {
    entry.site.list.store(kNoList, std::memory_order_relaxed);
    functions_.insert(&entry);
  }
  return &entry;
}

absl::Status Registry::Publish(PatchedFunction& function) {
  absl::StatusOr<OwnedList> list = MakeHandlerList(function, pools_);
  if (!list.ok()) return list.status();
  Site& site = function.site;
  const bool live = *list != nullptr;
  // relaxed: nothing is published; threads that go astray meanwhile find
  // kNoList and take the bypass.
  if (!live) site.entry.store(site.bypass, std::memory_order_relaxed);
  HandlerList* const fresh = live ? list->release() : kNoList;
  // R0 -> A0 (rethook/dispatch.cc): the list is complete.
  // R0 -> the trampoline, whose plain load acquires on x86-64.
  // S0 <-> S2 (rethook/dispatch.cc): total order of this change before the sum
  // in WaitForEntering. Nothing is acquired: the lock orders the old list.
  HandlerList* old = site.list.exchange(fresh, std::memory_order_seq_cst);
  if (live) {
    // R1 -> the stub, which jumps through it by a plain load: who is led to the
    // trampoline finds the list there. (With kNoList he would be safe, but
    // counted as missed.)
    site.entry.store(reinterpret_cast<const void*>(&retprobe_entry),
                     std::memory_order_release);
  }
  if (old != kNoList) retired_.Add(OwnedList(old), pools_);
  return absl::OkStatus();
}

absl::Status Registry::Add(const Item& item) {
  const absl::StatusOr<PatchedFunction*> patched = Prepare(item.function);
  if (!patched.ok()) return patched.status();
  PatchedFunction* const entry = *patched;
  Probe* const probe = item.probe;
  probe->entry_only = item.entry_only;
  probe->uses_trap = entry->patch->traps();
  Probe** last = &entry->probes;
  while (*last != nullptr) last = &(*last)->next;
  *last = probe;
  probe->function = entry;
  const Missed before = Counters(entry->site);
  if (before.total() > 0) probe->before = std::make_unique<Missed>(before);
  probe->attached = true;
  absl::Status status = Publish(*entry);
  if (!status.ok()) *last = nullptr;
  return status;
}

void Registry::Attach(absl::Span<Item> items) {
  SetupScope scope;
  // Not under the lock: it takes the loader's.
  void* const finder = FrameFinder();
  bool traps;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ready_.ok()) TeachUnwinder(finder);
    ReserveEntryPatches(static_cast<size_t>(
        std::count_if(items.begin(), items.end(), [this](const Item& item) {
          return item.status.ok() &&
                 !functions_.contains(static_cast<const void*>(item.function));
        })));
    for (Item& item : items) {
      item.status.Update(ready_);
      if (item.status.ok()) item.status = Add(item);
    }
    traps = BringTraps(items);
    if (!traps) Arm(items);
  }
  if (traps) {
    GuardTraps();
    std::lock_guard<std::mutex> lock(mutex_);
    Arm(items);
  }
  std::vector<Probe*> refused;
  for (Item& item : items) {
    if (item.status.ok()) continue;
    refused.push_back(std::exchange(item.probe, nullptr));
  }
  Finish(refused);
}

void Registry::SetEnabled(Probe* probe, bool enabled) {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  if (enabled && probe->enabled && !probe->live()) {
    // relaxed: a count. Whoever comes meanwhile begins to use it up again.
    probe->state.hits.store(0, std::memory_order_relaxed);
  } else if (probe->enabled == enabled) {
    return;
  }
  const bool before = probe->enabled;
  probe->enabled = enabled;
  if (!Publish(*probe->function).ok()) probe->enabled = before;
}

absl::Status Registry::SetFilter(Probe* probe, const CallFilter& filter) {
  SetupScope scope;
  absl::StatusOr<OwnedFilter> fresh = MakeFilter(filter);
  if (!fresh.ok()) return fresh.status();
  std::lock_guard<std::mutex> lock(mutex_);
  std::swap(probe->filter, *fresh);
  const absl::Status status = Publish(*probe->function);
  if (!status.ok()) std::swap(probe->filter, *fresh);
  fresh->reset();  // what is not needed any more, under the lock
  return status;
}

std::vector<const ObjPool*> Registry::Pools() {
  std::lock_guard<std::mutex> lock(mutex_);
  return pools_.All();
}

}  // namespace retprobe
