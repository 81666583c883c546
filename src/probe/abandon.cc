// SPDX-License-Identifier: Apache-2.0
//
// Activations on stacks that are given up.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "probe/registry.h"
#include "rethook/guard.h"
#include "rethook/left_frame.h"

namespace retprobe {
namespace {

struct Candidate {
  uint64_t frame;
  ReturnInstance* instance;
};

// Whether the body of an activation is under way whose frame begins at `frame`.
// When the body returns, the trampoline writes another address there.
bool InBody(uint64_t frame) {
  return *reinterpret_cast<const uintptr_t*>(frame) ==
         reinterpret_cast<uintptr_t>(&retprobe_return);
}

}  // namespace

// An instance of another thread may still have the `frame` of its activation
// before the present one, which was on this stack; it then has it in common
// with the instance that is on this stack now. Such a pair is let be: which is
// which cannot be told. (Another thread is there for two instructions; an
// instance whose taking was cut short between two stores stays so in the pool.)
std::vector<ReturnInstance*> Registry::OnStack(uintptr_t low, uintptr_t high) {
  std::vector<Candidate> found;
  for (const ObjPool* pool : Pools()) {
    pool->ForEachObject([&](void* object) {
      auto* instance = static_cast<ReturnInstance*>(object);
      // relaxed, both: what is on this stack has been synchronized with; of
      // others nothing is read through these.
      const uint64_t frame =
          std::atomic_ref(instance->frame).load(std::memory_order_relaxed);
      const bool out =
          instance->list.load(std::memory_order_relaxed) != nullptr;
      if (out && frame >= low && frame < high && InBody(frame)) {
        found.push_back({frame, instance});
      }
    });
  }
  const auto inner = [](const Candidate& a, const Candidate& b) {
    return a.frame < b.frame;
  };
  std::sort(found.begin(), found.end(), inner);
  std::vector<ReturnInstance*> instances;
  for (const Candidate& candidate : found) {
    const auto [first, behind] =
        std::equal_range(found.begin(), found.end(), candidate, inner);
    if (behind - first == 1) instances.push_back(candidate.instance);
  }
  return instances;
}

size_t Registry::AbandonFrames(uintptr_t low, uintptr_t high) {
  size_t count = 0;
  ReturnInstance* innermost = nullptr;
  {
    SetupScope scope;
    const std::vector<ReturnInstance*> instances = OnStack(low, high);
    count = instances.size();
    for (size_t i = count; i-- > 0;) {
      instances[i]->left_in = RETPROBE_STATE_CALLED;
      instances[i]->further_out = innermost;
      innermost = instances[i];
    }
  }
  EndAbandoned(innermost);
  return count;
}

}  // namespace retprobe
