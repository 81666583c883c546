// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_REGISTRY_H_
#define RETPROBE_PROBE_REGISTRY_H_

#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "probe/instance_pools.h"
#include "probe/probe.h"
#include "probe/replacement.h"
#include "probe/retired.h"

namespace retprobe {

// Which functions are patched, and who listens at each. One per process; never
// destroyed, because probed functions run until the process is gone. Its
// members are in registry.cc (attaching, switching), arming.cc, detach.cc,
// guards.cc, inspect.cc and abandon.cc.
//
// Thread-safe; not async-signal-safe. While a member runs, the calling thread's
// own calls are not probed.
class Registry {
 public:
  static Registry& Get();

  struct Item {
    void* function;
    ReturnProbe::Probe* probe;  // deleted if it could not be attached
    absl::Status status;        // not OK: is not to be attached; then, was not
    bool entry_only = false;    // there is no return to see
  };
  // Attaches the probes of `items` to their functions.
  void Attach(absl::Span<Item> items);

  void SetEnabled(ReturnProbe::Probe* probe, bool enabled);

  absl::Status SetFilter(ReturnProbe::Probe* probe, const CallFilter& filter);

  // Ends `probes`, which must not be used afterwards.
  void Detach(absl::Span<ReturnProbe::Probe* const> probes);

  Missed MissedOf(const ReturnProbe::Probe* probe);

  // All probes but this library's own.
  std::vector<ProbeInfo> List();

  // See retprobe::AbandonFrames.
  size_t AbandonFrames(uintptr_t low, uintptr_t high);

  // Instances that are out now, of all pools.
  size_t InstancesInUse();

  // Instances that there are, of all pools, in use or not.
  size_t Instances();

 private:
  Registry();

  // Takes the place of functions of libc that a call-through cannot survive,
  // or that end activations: before the first probe.
  void Guard();
  void Replace(const Replacement& replacement);

  // Makes libgcc's unwinder see through stubs, once it is there.
  void TeachUnwinder(void* finder);

  // Leads calls of the prepared `function` to `replacement` from now on.
  void Replace(PatchedFunction& function, const void* replacement);

  // Keeps the SIGTRAP of an int3 from being blocked or taken over.
  void GuardTraps();
  void AttachOurOwn(std::vector<ReturnProbe::Request> requests);

  absl::StatusOr<PatchedFunction*> Prepare(void* function);
  absl::Status Add(const Item& item);
  // Whether one of them is by int3, for the first time.
  bool BringTraps(absl::Span<const Item> items);
  void Remove(absl::Span<ReturnProbe::Probe* const> probes);
  void Arm(absl::Span<Item> items);

  // Makes and publishes the list of the function's enabled probes.
  absl::Status Publish(PatchedFunction& function);

  void Finish(absl::Span<ReturnProbe::Probe* const> probes);
  std::vector<const ObjPool*> Pools();

  // In a fork's child, where only the calling thread goes on.
  void ForgetOtherThreads();

  // The instances of activations whose frames begin in [low, high), innermost
  // first.
  std::vector<ReturnInstance*> OnStack(uintptr_t low, uintptr_t high);

  // Waits until no other thread runs a handler of `probes`, which are dead.
  // Returns those of which the calling thread runs one.
  using States = absl::flat_hash_set<const ProbeState*>;
  States WaitForHandlers(const States& probes);

  const absl::Status ready_;
  std::mutex mutex_;
  const void* taught_ = nullptr;  // libgcc's function that was replaced last
  // Found by their addresses; a function that is its own key has one word here.
  struct ByFunction {
    using is_transparent = void;
    static const void* Key(const void* function) { return function; }
    static const void* Key(const PatchedFunction* f) {
      return f->site.function;
    }
    size_t operator()(const auto& key) const {
      return absl::Hash<const void*>()(Key(key));
    }
    bool operator()(const auto& a, const auto& b) const {
      return Key(a) == Key(b);
    }
  };
  absl::flat_hash_set<PatchedFunction*, ByFunction, ByFunction> functions_;
  std::deque<PatchedFunction> storage_;
  bool traps_guarded_ = false;
  InstancePools pools_;
  Retired retired_;
};

}  // namespace retprobe

#endif  // RETPROBE_PROBE_REGISTRY_H_
