// SPDX-License-Identifier: Apache-2.0
// The protocol by which Detach, and Rethook::Stop, wait for handlers, written
// down from src/rethook/dispatch.cc (Begin, EndHandler) and
// src/probe/registry.cc (Remove, Finish, WaitForHandlers).
#include "models.h"

namespace retprobe::proof {
namespace {

// Which of the protocol's parts is left out. (Not that Begin releases: to
// Relacy, as to C++11, a thread's own later stores go on with what it has
// released.)
enum class Without { kNothing, kEnd, kWait, kDead };

// Two threads run the handlers of two probes on an instance of their own each;
// the third thread detaches the first probe.
template <Without kWithout>
struct DetachModel : rl::test_suite<DetachModel<kWithout>, 3> {
  static constexpr uint32_t kNobody = 0;
  static constexpr uint32_t kDetached = 1;
  static constexpr uint32_t kOther = 2;
  Atomic<uint32_t> running[2];
  Atomic<uint32_t> dead;
  rl::var<int> owned;  // what the first probe's owner lets go

  static constexpr std::memory_order Unless(Without part,
                                            std::memory_order order) {
    return part == kWithout ? std::memory_order_relaxed : order;
  }

  void before() {
    BeginMachine();
    owned($) = 1;
  }
  void thread(unsigned index) {
    const Running scope;
    if (index == 2) {
      Detach();
      return;
    }
    for (const uint32_t probe : {kDetached, kOther, kDetached}) {
      Run(running[index], probe);
    }
  }

  void Run(Atomic<uint32_t>& instance, uint32_t probe) {
    // R0 -> A0, and S3 <-> S1 with the barrier of the other side.
    instance.store(probe, std::memory_order_release);
    if (probe == kDetached && (kWithout == Without::kDead ||
                               dead.load(std::memory_order_relaxed) == 0)) {
      Serve();  // a handler takes its time
      Check(owned($) == 1, "a handler runs after Detach");
    }
    // R1 -> A0.
    instance.store(kNobody, Unless(Without::kEnd, std::memory_order_release));
  }

  void Detach() {
    dead.store(1, std::memory_order_relaxed);
    Barrier();  // S1
    for (const Atomic<uint32_t>& instance : running) {
      // A0 <- R0, R1.
      while (instance.load(Unless(Without::kWait, std::memory_order_acquire)) ==
             kDetached) {
        rl::yield(1, $);
        Serve();
      }
    }
    owned($) = 0;
  }
};

bool WithoutBarrier(rl::test_params& params) {
  skip_barriers = true;
  const bool fine = rl::simulate<DetachModel<Without::kNothing>>(params);
  skip_barriers = false;
  return fine;
}

constexpr ModelOf kDetachModels[] = {
    {"detach", 100'000, rl::simulate<DetachModel<Without::kNothing>>},
    {"broken_detach_no_barrier", 100'000, WithoutBarrier},
    {"broken_detach_relaxed_end", 100'000,
     rl::simulate<DetachModel<Without::kEnd>>},
    {"broken_detach_relaxed_wait", 100'000,
     rl::simulate<DetachModel<Without::kWait>>},
    {"broken_detach_not_dead", 100'000,
     rl::simulate<DetachModel<Without::kDead>>},
};

}  // namespace

std::span<const ModelOf> DetachModels() { return kDetachModels; }

}  // namespace retprobe::proof
