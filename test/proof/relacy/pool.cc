// SPDX-License-Identifier: Apache-2.0
// Models of the whole pool.
#include "pool.h"

#include "models.h"

namespace retprobe::proof {
namespace {

// Without rseq: one spare each, and freelists for the rest; threads 0 and 2
// share a CPU.
struct PoolCas : Traffic<PoolCas, 3> {
  static constexpr Shape kShape = {false, true, 0, 3, 3};
  void thread(unsigned) {
    const Running running;
    Wander(4);
  }
  void after() { CountAll(3); }
};

// The same, and no flags are cleared: what says that there is nothing is that
// nobody has pushed.
struct PoolCasCounts : Traffic<PoolCasCounts, 3> {
  static constexpr Shape kShape = {false, true, 0, 2, 2, 1, 100};
  void thread(unsigned) {
    const Running running;
    Wander(8);
  }
  void after() { CountAll(2); }
};

// The first, and whole batches are moved, which are not seen meanwhile.
struct PoolCasBatches : Traffic<PoolCasBatches, 3> {
  static constexpr Shape kShape = {false, true, 0, 4, 4, 2};
  void before() { ledger.Hide(true); }
  void thread(unsigned) {
    const Running running;
    Wander(4);
  }
  void after() { CountAll(4); }
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

// CPU 0 fills its magazine, front and array, and others come for it who have
// heard nothing of that: only the pool's own edges lead from one to the other.
struct PoolFrozen : Traffic<PoolFrozen, 3> {
  static constexpr Shape kShape = {true, false, 1, 2, 2};
  void thread(unsigned index) {
    const Running running;
    if (index == 0) {
      uint32_t held[2];
      for (int i = 0; i < 2; ++i) {
        for (uint32_t& one : held) one = Silently();
        // relaxed: just to be timely
        told.store(1, std::memory_order_relaxed);
        for (const uint32_t one : held) Return(one);
        told.store(2, std::memory_order_relaxed);
      }
      return;
    }
    while (told.load(std::memory_order_relaxed) < rl::rand(3)) {
      rl::yield(1, $);
    }
    const uint32_t first = Silently();
    const uint32_t second = Silently();
    Return(second);
    Return(first);
  }
  void after() { CountAll(2); }
  uint32_t Silently() {
    const uint32_t index = pool.Pop();
    if (index != kNone) ledger.Take(index);
    return index;
  }
  void Return(uint32_t index) {
    if (index == kNone) return;
    ledger.BeginPush(index);
    pool.Push(index);
  }
};

// Magazines, and somebody drains the CPUs: what he carries is not seen
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
    {"pool_cas_counts", 20'000, rl::simulate<PoolCasCounts>},
    {"pool_cas_batches", 20'000, rl::simulate<PoolCasBatches>},
    {"pool_ring", 20'000, rl::simulate<PoolRing>},
    {"pool_magazines", 20'000, rl::simulate<PoolMagazines>},
    {"pool_frozen", 50'000, rl::simulate<PoolFrozen>},
    {"pool_drain", 20'000, rl::simulate<PoolDrain>},
    {"pool_growing", 20'000, rl::simulate<PoolGrowing>},
    {"pool_sizing", 20'000, rl::simulate<PoolSizing>},
    {"pool_end", 20'000, rl::simulate<PoolEnd>},
};

}  // namespace

std::span<const ModelOf> PoolModels() { return kPools; }

}  // namespace retprobe::proof
