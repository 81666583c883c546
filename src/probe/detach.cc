// SPDX-License-Identifier: Apache-2.0
//
// How probes end.
#include <sched.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "base/membarrier.h"
#include "probe/arming.h"
#include "probe/registry.h"
#include "rethook/guard.h"

namespace retprobe {
namespace {

using Probe = ReturnProbe::Probe;

// Whether a handler runs on `instance` in this very thread.
bool RunsHere(const ReturnInstance& instance) {
  return retprobe_guard.in_handler != 0 && retprobe_guard.running == &instance;
}

}  // namespace

// Takes the probes out of their functions' lists; a patch goes with the last
// one.
void Registry::Remove(absl::Span<Probe* const> probes) {
  std::vector<EntryPatch*> patches;
  for (Probe* probe : probes) {
    // relaxed: Finish's membarrier orders it before what WaitForHandlers reads.
    probe->state.dead.store(true, std::memory_order_relaxed);
    PatchedFunction& function = *probe->function;
    Probe** link = &function.probes;
    while (*link != probe) link = &(*link)->next;
    *link = probe->next;
    if (probe->enabled) {
      probe->enabled = false;
      // A shorter list than before cannot fail for its size; out of memory
      // leaves the old one in place, where the probe is dead.
      Publish(function).IgnoreError();
    }
    if (function.probes == nullptr && function.patch->armed) {
      patches.push_back(function.patch);
    }
  }
  // A patch that stays leads through the bypass.
  SwitchPatches(patches, /*arm=*/false);
}

Registry::States Registry::WaitForHandlers(const States& probes) {
  const std::vector<const ObjPool*> pools = Pools();
  for (;;) {
    bool running = false;
    States here;
    const auto look = [&](void* object) {
      auto& instance = *static_cast<ReturnInstance*>(object);
      // A0 <- R0 (rethook/dispatch.cc), R1 (rethook/dispatch.cc): when the
      // handler is not running any more, what it did is done.
      // A0 <- the trampoline, whose plain stores release on x86-64.
      const ProbeState* const state =
          instance.running.load(std::memory_order_acquire);
      if (state == nullptr || !probes.contains(state)) return;
      if (RunsHere(instance)) {
        here.insert(state);
      } else {
        running = true;
      }
    };
    for (const ObjPool* pool : pools) pool->ForEachObject(look);
    if (!running) return here;
    sched_yield();
  }
}

// Ends probes that Remove has taken out. Not under the lock: a handler that is
// waited for may itself be waiting for the registry.
void Registry::Finish(absl::Span<Probe* const> probes) {
  States states;
  for (const Probe* probe : probes) {
    if (probe->entry_handler || probe->return_handler) {
      states.insert(&probe->state);
    }
  }
  if (!states.empty()) {
    // S1 <-> S3 (rethook/dispatch.cc): total order of `dead` before `running`
    // here, of `running` before `dead` there, and in the trampoline: a full
    // fence in every thread. Either the handler sees `dead` and does not run or
    // WaitForHandlers sees it running.
    const bool fenced = SynchronizeMemory();
    const States here = WaitForHandlers(states);
    // None will be called any more: what they hold goes now, not when the last
    // activation has ended.
    for (Probe* probe : probes) {
      if (!fenced || here.contains(&probe->state)) continue;
      probe->entry_handler = {};
      probe->return_handler = {};
    }
  }
  std::lock_guard<std::mutex> lock(mutex_);
  for (Probe* probe : probes) {
    probe->attached = false;
    if (probe->lists == 0) delete probe;
  }
}

void Registry::Detach(absl::Span<Probe* const> probes) {
  SetupScope scope;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Remove(probes);
  }
  Finish(probes);
}

void Registry::ForgetOtherThreads() {
  pools_.ForEach([](ReturnInstance& instance) {
    // relaxed: the child has one thread.
    if (!RunsHere(instance)) {
      instance.running.store(nullptr, std::memory_order_relaxed);
    }
  });
  for (PatchedFunction& function : storage_) {
    for (Probe* p = function.probes; p != nullptr; p = p->next) {
      // relaxed: as above. What this thread has under way is let off its place.
      p->state.active.store(0, std::memory_order_relaxed);
    }
  }
}

}  // namespace retprobe
