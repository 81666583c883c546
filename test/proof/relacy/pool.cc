// SPDX-License-Identifier: Apache-2.0
// Models of the whole pool: objpool's BasicPoolCore, as it is.
#include <array>
#include <new>

#include "ledger.h"
#include "models.h"
#include "objpool/closing.h"
#include "objpool/popping.h"
#include "objpool/pushing.h"
#include "objpool/sizing.h"
#include "policy.h"

namespace retprobe::proof {
namespace {

using Core = BasicPoolCore<Model>;

// CPUs 0 and 1, nearest each other.
constexpr uint16_t kCpuAt[] = {0, 1};
constexpr uint16_t kPlaceOf[] = {0, 1};
constexpr uint32_t kFirstRing[] = {0, 1, 2};
constexpr StealRing kRings[] = {{0, 2, 0, 1}, {0, 2, 1, 2}};
constexpr uint16_t kNodeOfCpu[] = {0, 0};

struct Shape {
  bool rseq;
  bool spare;
  uint64_t capacity;  // of a magazine's array; with rseq
  uint32_t initial;
  uint32_t most;
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
    core_.batch = 1;
    core_.growth_chunk = 1;
    core_.calm_pushes = 1;
    core_.futile_limit = 1;
    core_.use_rseq = shape.rseq;
    core_.use_magazines = shape.rseq && shape.capacity != 0;
    core_.registered = shape.rseq;
    core_.use_spare = shape.spare;
    core_.push_home = false;
    range_.begin = 0;
    range_.initial_end = shape.initial;
    range_.end = kMost;
    // relaxed: nobody else is there yet
    core_.population.store(Core::Population(shape.initial, shape.most),
                           std::memory_order_relaxed);
    Core::Header& header = core_.header();
    header.cpus = core_.use_magazines ? kCpus : 0;
    header.capacity = shape.capacity;
    header.state.store(kFresh | (core_.use_magazines ? kCpus | kUnsettled : 0),
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
    return IndexOf(fast == arch::kLookFurther ? core_.PopSlow()
                                              : reinterpret_cast<void*>(fast));
  }
  void Push(uint32_t index) {
    void* const object = core_.Object(index);
    if (!Model::MagazinePush(core_.magazines, object)) core_.PushSlow(object);
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

// Without rseq: spares and freelists. Spares overflow to freelists; threads 0
// and 2 share a CPU.
struct PoolCas : Traffic<PoolCas, 3> {
  static constexpr Shape kShape = {false, true, 0, 3, 3};
  void thread(unsigned) {
    const Running running;
    Wander(4);
  }
  void after() { CountAll(3); }
};

// Rings of two that overflow to freelists; the third thread is not registered.
struct PoolRing : Traffic<PoolRing, 3> {
  static constexpr Shape kShape = {true, false, 0, 4, 4};
  void thread(unsigned) {
    const Running running;
    Wander(4);
  }
  void after() { CountAll(4); }
};

// Magazines of two that are closed, frozen, settled, taken from and opened.
struct PoolMagazines : Traffic<PoolMagazines, 3> {
  static constexpr Shape kShape = {true, false, 1, 2, 2};
  void thread(unsigned) {
    const Running running;
    Wander(5);
  }
  void after() { CountAll(2); }
};

// The same, and somebody drains the CPUs: what he carries is not seen
// meanwhile.
struct PoolDrain : Traffic<PoolDrain, 3> {
  static constexpr Shape kShape = {true, false, 1, 3, 3};
  void thread(unsigned index) {
    const Running running;
    if (index == 2) {
      Drain(0);
      Wander(2);
      Drain(1);
    } else {
      Wander(5);
    }
  }
  void after() { CountAll(3); }
  void Drain(uint32_t cpu) {
    ledger.Hide(true);
    pool.core().DrainCpu(cpu);
    ledger.Hide(false);
  }
};

// Objects that are made while another thread looks at those that exist.
struct PoolGrowing : Traffic<PoolGrowing, 3> {
  static constexpr Shape kShape = {true, false, 0, 1, 3};
  rl::var<int> made[Pool::kMost];

  PoolGrowing() {
    made[0]($) = 1;
    pool.core().context = this;
    pool.core().init = [](void* object, void* context) {
      auto& model = *static_cast<PoolGrowing*>(context);
      model.made[model.pool.IndexOf(object)]($) = 1;
    };
  }
  void thread(unsigned index) {
    const Running running;
    if (index != 0) return Wander(4);
    for (uint32_t i = 0; i < 8 * Pool::kMost; ++i) {
      if (pool.core().ObjectAt(i % Pool::kMost) == nullptr) continue;
      Check(made[i % Pool::kMost]($) == 1, "an object that is not complete");
    }
  }
  void after() {
    uint32_t found = 0;
    while (Pop() != kNone) ++found;
    Check(found == 3, "less than there may be");
  }
};

// Objects are dropped, made again, and become fewer and more.
struct PoolSizing : Traffic<PoolSizing, 3> {
  static constexpr Shape kShape = {true, false, 0, 2, 3};
  void before() { ledger.Hide(true); }  // Resize takes idle objects
  void thread(unsigned index) {
    const Running running;
    if (index == 2) {
      pool.core().Resize(1, 2);
      pool.core().Resize(2, 3);
      return;
    }
    const uint32_t one = Pop();
    if (one != kNone && index == 0) {
      ledger.BeginPush(one);
      pool.core().Drop(one);
    } else {
      Push(one);
    }
    Wander(2);
  }
  void after() {
    uint32_t found = 0;
    while (Pop() != kNone) ++found;
    Check(found == 3, found < 3 ? "lost" : "more than there may be");
  }
};

// The last object to come home releases the pool, after all that was done.
struct PoolEnd : Traffic<PoolEnd, 3> {
  static constexpr Shape kShape = {true, false, 0, 3, 3};
  uint32_t held[3];

  PoolEnd() {
    pool.core().release = [](Core::Header&) {
      ++Pool::released;
      for (uint32_t i = 0; i < 3; ++i) last->ledger.Visit(i);
    };
    last = this;
  }
  void before() {
    held[1] = Pop();
    held[2] = Pop();
  }
  void thread(unsigned index) {
    const Running running;
    if (index == 0) {
      pool.core().Fini();
      told.store(1, std::memory_order_release);
      return;
    }
    while (told.load(std::memory_order_acquire) == 0) rl::yield(1, $);
    ledger.BeginPush(held[index]);
    pool.Push(held[index]);
  }
  void after() { Check(Pool::released == 1, "released not once"); }
  static inline PoolEnd* last;
};

constexpr ModelOf kPools[] = {
    {"pool_cas", 20'000, rl::simulate<PoolCas>},
    {"pool_ring", 20'000, rl::simulate<PoolRing>},
    {"pool_magazines", 20'000, rl::simulate<PoolMagazines>},
    {"pool_drain", 20'000, rl::simulate<PoolDrain>},
    {"pool_growing", 20'000, rl::simulate<PoolGrowing>},
    {"pool_sizing", 20'000, rl::simulate<PoolSizing>},
    {"pool_end", 20'000, rl::simulate<PoolEnd>},
};

}  // namespace

std::span<const ModelOf> PoolModels() { return kPools; }

}  // namespace retprobe::proof
