// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PROOF_RELACY_POOL_H_
#define RETPROBE_TEST_PROOF_RELACY_POOL_H_

#include "ledger.h"
#include "objpool/closing.h"
#include "objpool/popping.h"
#include "objpool/pushing.h"
#include "objpool/sizing.h"
#include "policy.h"

// The whole pool, objpool's BasicPoolCore, as it is; on the modelled machine.

namespace retprobe::proof {

using Core = BasicPoolCore<Model>;

// CPUs 0 and 1, nearest each other.
inline constexpr uint16_t kCpuAt[] = {0, 1};
inline constexpr uint16_t kPlaceOf[] = {0, 1};
inline constexpr uint32_t kFirstRing[] = {0, 1, 2};
inline constexpr StealRing kRings[] = {{0, 2, 0, 1}, {0, 2, 1, 2}};
inline constexpr uint16_t kNodeOfCpu[] = {0, 0};

struct Shape {
  bool rseq;
  bool spare;
  uint64_t capacity;  // of a magazine's array; with rseq
  uint32_t initial;
  uint32_t most;
  uint32_t batch = 1;
  uint32_t futile_limit = 1;
};

// A pool on two CPUs and one node, in memory of its own, with rings of two.
class Pool {
 public:
  static constexpr uint32_t kCpus = 2;
  static constexpr uint32_t kMost = 4;
  static constexpr uint64_t kEntries = 2;

  explicit Pool(const Shape& shape) {
    Model::cpu_count = kCpus;
    Model::share_cpus = !shape.rseq;
    core_.magazines = reinterpret_cast<std::byte*>(memory_.magazines);
    core_.slots = memory_.slots;
    core_.entries = memory_.entries;
    core_.objects = memory_.objects;
    core_.links = memory_.links;
    core_.flags = memory_.flags;
    core_.ranges = &range_;
    core_.seals = nullptr;
    core_.idle_readable = true;
    core_.watched = false;
    core_.steal = {kCpuAt, kPlaceOf, kFirstRing, kRings};
    core_.node_of_cpu = kNodeOfCpu;
    core_.init = nullptr;
    core_.fini = nullptr;
    core_.release = [](Core::Header&) { ++released; };
    core_.object_stride = 1;
    core_.stride_inverse = 1;
    core_.stride_shift = 0;
    core_.ring_shift = 1;
    core_.cpus = kCpus;
    core_.nodes = 1;
    core_.initial_objects = shape.initial;
    core_.max_objects = kMost;
    core_.batch = shape.batch;
    core_.growth_chunk = 1;
    core_.calm_pushes = 1;
    core_.futile_limit = shape.futile_limit;
    core_.array_capacity = static_cast<uint32_t>(shape.capacity);
    core_.sole_capacity = RETPROBE_MAGAZINE_SLOTS;
    core_.use_rseq = shape.rseq;
    core_.use_magazines = shape.rseq && shape.capacity != 0;
    core_.use_spares = shape.spare;
    core_.closes = core_.use_magazines || core_.use_spares;
    core_.push_home = false;
    range_.begin = 0;
    range_.initial_end = shape.initial;
    range_.end = kMost;
    // relaxed: nobody else is there yet
    core_.population.store(Core::Population(shape.initial, shape.most),
                           std::memory_order_relaxed);
    Core::Header& header = core_.header();
    header.core = &core_;
    header.lean = shape.spare ? core_.slots : nullptr;
    header.lean_cpus = shape.spare ? kCpus : 0;
    header.cpus = core_.use_magazines ? kCpus : 0;
    header.capacity.store(shape.capacity, std::memory_order_relaxed);
    header.state.store(kFresh | header.cpus | (core_.closes ? kUnsettled : 0),
                       std::memory_order_relaxed);
    for (uint32_t i = 0; i < shape.initial; ++i) core_.Create(i);
    for (auto& entry : memory_.entries) entry.CheckOverwrites();
    for (auto& magazine : memory_.magazines) {
      for (auto& object : magazine.objects) object.CheckOverwrites();
    }
    released = 0;
  }

  Core& core() { return core_; }
  uint64_t state() {
    return core_.header().state.load(std::memory_order_relaxed);
  }

  uint32_t Pop() {
    const uintptr_t fast = Model::FastPop(core_.magazines);
    return IndexOf(fast == arch::kLookFurther ? Core::PopSlow(core_.header())
                                              : reinterpret_cast<void*>(fast));
  }
  void Push(uint32_t index) {
    void* const object = core_.Object(index);
    if (!Model::MagazinePush(core_.magazines, object))
      Core::PushSlow(core_.header(), object);
  }
  uint32_t IndexOf(void* object) {
    return object != nullptr ? core_.Index(object) : kNone;
  }

  static inline int released;

 private:
  // Before the core, which never destroys what it points to.
  struct Memory {
    Core::Header header;
    Core::Magazine magazines[kCpus];
    Slot<Model> slots[kCpus + 1];
    Atomic<uint32_t> entries[kCpus * kEntries];
    Atomic<uint64_t> flags[kCpus + 1];
    Atomic<uint32_t> links[kMost];
    std::byte objects[kMost];
  } memory_;
  ObjectRange<Model> range_;
  Core core_;
};

// What threads do, and what they tell each other of it.
template <typename Derived, int kThreads>
struct Traffic : rl::test_suite<Derived, kThreads> {
  Traffic()
      : pool((BeginMachine(), Derived::kShape)),
        ledger(Derived::kShape.initial) {}

  Pool pool;
  Ledger<Pool::kMost> ledger;
  Atomic<uint32_t> told;

  uint32_t Pop() {
    // What others have told us of their pushes.
    told.load(std::memory_order_acquire);
    const auto known = ledger.BeginPop();
    const uint32_t index = pool.Pop();
    ledger.EndPop(known, index);
    return index;
  }
  void Push(uint32_t index) {
    if (index == kNone) return;
    const int version = ledger.BeginPush(index);
    pool.Push(index);
    ledger.EndPush(index, version);
    told.fetch_add(1, std::memory_order_acq_rel);
  }
  // Pops and pushes at random, and keeps at most two objects.
  void Wander(int steps) {
    uint32_t held[2] = {kNone, kNone};
    for (int i = 0; i < steps; ++i) {
      uint32_t& one = held[rl::rand(2)];
      if (one == kNone) {
        one = Pop();
      } else {
        Push(one);
        one = kNone;
      }
    }
    Push(held[0]);
    Push(held[1]);
  }
  // All objects are there, each once.
  void CountAll(uint32_t count) {
    uint32_t found = 0;
    while (Pop() != kNone) ++found;
    Check(found == count, found < count ? "lost" : "more than there were");
  }
};

}  // namespace retprobe::proof

#endif  // RETPROBE_TEST_PROOF_RELACY_POOL_H_
