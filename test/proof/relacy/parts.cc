// SPDX-License-Identifier: Apache-2.0
// Models of the pool's parts: ring, freelist, occupancy.
#include <array>

#include "ledger.h"
#include "models.h"
#include "objpool/freelist.h"
#include "objpool/occupancy.h"
#include "objpool/ring.h"
#include "objpool/state.h"
#include "policy.h"

namespace retprobe::proof {
namespace {

// One pusher, two poppers, a ring of two entries, objects that go round.
struct RingModel : rl::test_suite<RingModel, 3> {
  static constexpr uint32_t kObjects = 4;
  Ring<Model> ring;
  Atomic<uint32_t> entries[2];
  Ledger<kObjects> ledger;

  void before() {
    BeginMachine();
    for (auto& entry : entries) entry.CheckOverwrites();
  }
  void thread(unsigned index) {
    const Running running;
    if (index != 0) {
      for (int i = 0; i < 2; ++i) Pop(1 + index % 2);
      return;
    }
    for (uint32_t i = 0; i < kObjects; ++i) {
      if (i == 2) Pop(1);
      Push(i);
    }
  }
  void after() {
    while (Pop(2) != 0) {
    }
    for (uint32_t i = 0; i < kObjects; ++i) {
      Check(ledger.InUse(i) || full[i], "lost");
    }
  }
  bool full[kObjects] = {};

  void Push(uint32_t index) {
    // The ledger has it idle already.
    if (!ledger.InUse(index)) ledger.Take(index);
    const int version = ledger.BeginPush(index);
    const arch::RseqResult result = ring.Push(0, entries, 1, index);
    if (result == arch::RseqResult::kDone) {
      ledger.EndPush(index, version);
    } else {
      full[index] = true;
      ledger.Take(index);
    }
  }
  uint32_t Pop(uint32_t most) {
    std::array<uint32_t, 2> taken;
    const uint32_t count = ring.Pop(entries, 1, taken.data(), most);
    for (uint32_t i = 0; i < count; ++i) ledger.Take(taken[i]);
    return count;
  }
};

// Three threads pop and push what they popped, in both orders.
struct FreelistModel : rl::test_suite<FreelistModel, 3> {
  static constexpr uint32_t kObjects = 3;
  Freelist<Model> list;
  Atomic<uint32_t> links[kObjects];
  Ledger<kObjects> ledger;

  void before() {
    BeginMachine();
    for (uint32_t i = 0; i < kObjects; ++i) list.Push(links, i);
  }
  void thread(unsigned index) {
    const Running running;
    for (int i = 0; i < 2; ++i) {
      const uint32_t first = Pop();
      const uint32_t second = index == 0 ? Pop() : kNone;
      Push(first);
      Push(second);
    }
  }
  void after() {
    for (uint32_t i = 0; i < kObjects; ++i) {
      Check(Pop() != kNone, "lost");
    }
    Check(Pop() == kNone, "more came out than went in");
  }

  void Push(uint32_t index) {
    if (index == kNone) return;
    ledger.BeginPush(index);
    list.Push(links, index);
  }
  uint32_t Pop() {
    const uint32_t index = list.Pop(links);
    if (index != kNone) ledger.Take(index);
    return index;
  }
};

// Two places: one of pushes by compare-and-swap, or by a CPU's sequences with
// membarriers for it. A pop looks only where state and flags tell it to, while
// somebody clears flags. `kEarly`: clears them in one step.
template <bool kRing, bool kEarly = false>
struct OccupancyModel : rl::test_suite<OccupancyModel<kRing, kEarly>, 3> {
  static constexpr uint32_t kObjects = 2;
  Ring<Model> ring;
  Freelist<Model> list;
  Atomic<uint32_t> entries[2];
  Atomic<uint32_t> links[kObjects];
  Atomic<uint64_t> state;
  Atomic<uint64_t> flags[1];
  // What a thread has heard of another's push, outside the pool.
  Atomic<uint32_t> told;
  Ledger<kObjects> ledger;

  Occupancy<Model> occupancy() { return {state, flags}; }

  void before() {
    BeginMachine();
    for (uint32_t i = 0; i < kObjects; ++i) ledger.Take(i);
  }
  void thread(unsigned index) {
    const Running running;
    if (index == 0) {
      Push(0);
      told.store(1, std::memory_order_release);
      if (Pop() != kNone) return;
      Push(1);
      told.store(2, std::memory_order_release);
    } else if (index == 1) {
      Clear(1);
      told.load(std::memory_order_acquire);
      Pop();
    } else {
      told.load(std::memory_order_acquire);
      Pop();
      Clear(2);
      Pop();
    }
  }
  void after() {
    while (Pop() != kNone) {
    }
    for (uint32_t i = 0; i < kObjects; ++i) {
      Check(ledger.InUse(i), "lost");
    }
    Clear(3);
    Check(state.load(std::memory_order_relaxed) == 0, "counted wrongly");
  }

  void Push(uint32_t index) {
    const int version = ledger.BeginPush(index);
    if (kRing) {
      while (ring.Push(0, entries, 1, index) != arch::RseqResult::kDone) {
      }
    } else {
      list.Push(links, index);
    }
    occupancy().Mark(0);
    ledger.EndPush(index, version);
  }
  uint32_t Pop() {
    const auto known = ledger.BeginPop();
    uint32_t index = kNone;
    if (!IsEmpty(state.load(std::memory_order_acquire)) &&
        occupancy().MayHold(0)) {
      if (!kRing) {
        index = list.Pop(links);
      } else if (ring.Pop(entries, 1, &index, 1) == 0) {
        index = kNone;
      }
    }
    ledger.EndPop(known, index);
    return index;
  }
  bool IsPlaceEmpty() { return kRing ? ring.IsEmpty() : list.IsEmpty(); }
  void Clear(uint64_t number) {
    if (kEarly) {
      uint64_t flag = Occupancy<Model>::kCounted;
      if (IsPlaceEmpty() &&
          flags[0].compare_exchange_strong(flag, 0, std::memory_order_seq_cst,
                                           std::memory_order_relaxed)) {
        state.fetch_sub(kOnePlace, std::memory_order_acq_rel);
      }
      return;
    }
    if (!occupancy().BeginClearing(0, number)) return;
    if (kRing) Barrier();
    occupancy().EndClearing(0, number, IsPlaceEmpty());
  }
};
using OccupancyCas = OccupancyModel<false>;
using OccupancyRing = OccupancyModel<true>;
using BrokenOneStep = OccupancyModel<false, true>;

bool WithoutBarriers(rl::test_params& params) {
  skip_barriers = true;
  const bool fine = rl::simulate<OccupancyRing>(params);
  skip_barriers = false;
  return fine;
}

constexpr ModelOf kParts[] = {
    {"ring", 200'000, rl::simulate<RingModel>},
    {"freelist", 100'000, rl::simulate<FreelistModel>},
    {"occupancy_cas", 200'000, rl::simulate<OccupancyCas>},
    {"occupancy_ring", 200'000, rl::simulate<OccupancyRing>},
    {"broken_occupancy_one_step", 200'000, rl::simulate<BrokenOneStep>},
    {"broken_occupancy_no_barrier", 200'000, WithoutBarriers},
};

}  // namespace

std::span<const ModelOf> PartModels() { return kParts; }

}  // namespace retprobe::proof
