// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_POOL_CORE_H_
#define RETPROBE_OBJPOOL_POOL_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/arch.h"
#include "objpool/magazine.h"
#include "objpool/slot.h"
#include "topology/steal_order.h"

#ifndef RETPROBE_DEBUG_CHECKS
#define RETPROBE_DEBUG_CHECKS 0
#endif

// The slow paths as the trampoline calls them; defined in objpool_hot.cc.
extern "C" {
void* retprobe_pop_slow(void* magazines) noexcept;
void retprobe_push_slow(void* magazines, void* object) noexcept;
}

namespace retprobe {

// What Create decides; never changes after.
struct PoolShape {
  std::byte* magazines;
  std::byte* slots;  // cpus + 1 of them; the last is the overflow's
  std::byte* objects;
  std::atomic<uint32_t>* links;
  std::atomic<uint8_t>* in_use;  // null without debug checks
  StealTable steal;              // of at least `cpus` CPUs
  void (*init)(void* object, void* context);
  void* init_context;
  uint64_t slot_stride;
  uint64_t object_stride;
  uint64_t stride_inverse;
  int stride_shift;
  int ring_shift;  // a ring has 1 << ring_shift entries
  uint32_t cpus;
  uint32_t initial_objects;
  uint32_t max_objects;
  uint32_t normal_capacity;  // the header's capacity when not starved
  uint32_t batch;            // objects to move at once
  bool use_rseq;
};

// A pool without its set-up: what probed calls run. Everything here is
// lock-free, async-signal-safe, and calls nothing outside the library but the
// creation callback (and the kernel, to drain). Lives in the pool's own memory;
// ObjPool::Create fills it in.
struct PoolCore : PoolShape {
  // Takes an object: what the fast path does, then the slow one.
  static void* Pop(void* magazines, ptrdiff_t rseq) noexcept {
    void* object = arch::RseqMagazinePop(magazines, rseq);
    return object != nullptr ? object : retprobe_pop_slow(magazines);
  }
  static void Push(void* magazines, void* object, ptrdiff_t rseq) noexcept {
    if (!arch::RseqMagazinePush(magazines, object, rseq)) {
      retprobe_push_slow(magazines, object);
    }
  }

  void* PopSlow() noexcept;
  void PushSlow(void* object) noexcept;

  // Takes everything out of CPU `from`'s magazine, ring and freelist, to where
  // all CPUs look. Returns how many objects. `from` may be `cpus`: the overflow
  // list, which is then left alone.
  uint32_t DrainCpu(uint32_t from) noexcept;

  // Makes object `index`, which nobody has yet.
  void Create(uint32_t index) noexcept;

  // Objects with an index below this exist or are just being made.
  uint32_t created() const noexcept {
    // relaxed: links[] say which are complete
    const uint32_t handed_out = fresh.load(std::memory_order_relaxed);
    return handed_out > initial_objects ? handed_out : initial_objects;
  }
  // Object `index`, in use or not; null while it is not complete.
  // Requires: index < max_objects.
  void* ObjectAt(uint32_t index) const noexcept {
    // A6 <- R6: the object is as its creation left it.
    return links[index].load(std::memory_order_acquire) != 0 ? Object(index)
                                                             : nullptr;
  }
  // Calls `visit(object)` for every object, in use or not.
  template <typename Visitor>
  void ForEachObject(Visitor&& visit) const {
    const uint32_t end = created();
    for (uint32_t index = 0; index < end; ++index) {
      if (void* object = ObjectAt(index)) visit(object);
    }
  }

  bool Contains(const void* object) const noexcept {
    const auto offset =
        static_cast<uint64_t>(static_cast<const std::byte*>(object) - objects);
    return offset < uint64_t{max_objects} * object_stride &&
           Index(object) * uint64_t{object_stride} == offset;
  }
  // Requires: Contains(object). An exact division: by the odd part of the
  // stride as its inverse modulo 2^64, by the rest as a shift.
  uint32_t Index(const void* object) const noexcept {
    const auto offset =
        static_cast<uint64_t>(static_cast<const std::byte*>(object) - objects);
    return static_cast<uint32_t>((offset >> stride_shift) * stride_inverse);
  }
  void* Object(uint32_t index) const noexcept {
    return objects + uint64_t{index} * object_stride;
  }

  Slot& SlotOf(uint32_t cpu) const noexcept {
    return *reinterpret_cast<Slot*>(slots + uint64_t{cpu} * slot_stride);
  }
  Magazine& MagazineOf(uint32_t cpu) const noexcept {
    return reinterpret_cast<Magazine*>(magazines)[cpu];
  }
  MagazineHeader& header() const noexcept {
    return reinterpret_cast<MagazineHeader*>(magazines)[-1];
  }

  // Read by misses, written on change.
  alignas(kCacheLine) std::atomic<uint32_t> missed_recently;

  // The object to hand out next that never was. Written by whoever grows.
  alignas(kCacheLine) std::atomic<uint32_t> fresh;
  std::atomic<uint64_t> freezes;

 private:
  // Pushes that slots had seen before, and after, they were found empty.
  struct Seen {
    uint64_t before = 0;
    uint64_t after = 0;
  };

  uint32_t HereSlot() const noexcept;
  uint32_t TakeShared(uint32_t from, uint32_t most) noexcept;
  uint32_t TakeFresh(uint32_t limit) noexcept;
  uint32_t Search(uint32_t here, Seen& seen) noexcept;
  uint32_t SearchSlot(uint32_t cpu, Seen& seen) noexcept;
  uint32_t TakeAny(uint32_t here) noexcept;
  void Cache(uint32_t index) noexcept;
  void Share(uint32_t index) noexcept;

  // drain_hot.cc
  uint32_t TakePrivate(uint32_t here) noexcept;
  uint32_t TakeFrozen(Magazine& magazine) noexcept;
  int64_t Freeze(Magazine& magazine) noexcept;
  void Thaw(Magazine& magazine) noexcept;
  bool Starve() noexcept;
  void EaseStarvation(Slot& slot) noexcept;

  // Whether somebody went without: then pushes leave the magazines alone, which
  // the capacity tells the fast path. (A pool without rseq or magazines uses
  // the word for this alone.)
  bool Starved() const noexcept {
    // relaxed: a hint
    return std::atomic_ref<uint64_t>(header().capacity)
               .load(std::memory_order_relaxed) == 0;
  }
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_POOL_CORE_H_
