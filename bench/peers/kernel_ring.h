// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_KERNEL_RING_H_
#define RETPROBE_BENCH_PEERS_KERNEL_RING_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/cache_line.h"
#include "base/cpu.h"
#include "peers/policy.h"
#include "peers/store.h"

namespace retprobe::bench {

// lib/objpool.c of Linux: a ring per CPU, of room for all objects; pop looks
// into every CPU's. The kernel keeps interrupts off between taking a position
// and filling it; here per-entry sequences (D. Vyukov) say when it is filled.
template <typename Policy>
class KernelRing {
 public:
  KernelRing(size_t count, size_t size, uint32_t cpus = PossibleCpus())
      : cpus_(cpus),
        mask_(std::bit_ceil(count) - 1),
        slots_(cpus),
        entries_(cpus * (mask_ + 1)),
        store_(count, size) {
    for (uint32_t cpu = 0; cpu < cpus; ++cpu) {
      for (uint64_t i = 0; i <= mask_; ++i) {
        EntryAt(cpu, i).turn.store(i, std::memory_order_relaxed);
      }
    }
    for (size_t i = 0; i < count; ++i) PushTo(i % cpus, store_.At(i));
  }
  void* Pop() {
    uint32_t cpu = Here<Policy>(cpus_);
    for (uint32_t i = 0; i < cpus_; ++i, cpu = NextCpu(cpu, cpus_)) {
      void* object = PopFrom(cpu);
      if (object != nullptr) return object;
    }
    return nullptr;
  }
  void Push(void* object) { PushTo(Here<Policy>(cpus_), object); }

 private:
  template <typename T>
  using Atomic = typename Policy::template Atomic<T>;

  struct Entry {
    Atomic<uint64_t> turn;
    Atomic<void*> object;
  };
  struct alignas(kCacheLine) Slot {
    Atomic<uint64_t> head;
    alignas(kCacheLine) Atomic<uint64_t> tail;
  };

  Entry& EntryAt(uint32_t cpu, uint64_t position) const {
    return entries_[cpu * (mask_ + 1) + (position & mask_)];
  }

  void PushTo(uint32_t cpu, void* object) {
    Slot& slot = slots_[cpu];
    uint64_t tail = slot.tail.load(std::memory_order_relaxed);
    for (;;) {
      Entry& entry = EntryAt(cpu, tail);
      if (entry.turn.load(std::memory_order_acquire) != tail) {
        tail = slot.tail.load(std::memory_order_relaxed);
      } else if (slot.tail.compare_exchange_weak(tail, tail + 1,
                                                 std::memory_order_relaxed,
                                                 std::memory_order_relaxed)) {
        entry.object.store(object, std::memory_order_relaxed);
        entry.turn.store(tail + 1, std::memory_order_release);
        return;
      }
    }
  }
  void* PopFrom(uint32_t cpu) {
    Slot& slot = slots_[cpu];
    uint64_t head = slot.head.load(std::memory_order_relaxed);
    for (;;) {
      Entry& entry = EntryAt(cpu, head);
      const auto past = static_cast<int64_t>(
          entry.turn.load(std::memory_order_acquire) - (head + 1));
      if (past < 0) return nullptr;
      if (past > 0) {
        head = slot.head.load(std::memory_order_relaxed);
      } else if (slot.head.compare_exchange_weak(head, head + 1,
                                                 std::memory_order_relaxed,
                                                 std::memory_order_relaxed)) {
        void* object = entry.object.load(std::memory_order_relaxed);
        entry.turn.store(head + mask_ + 1, std::memory_order_release);
        return object;
      }
    }
  }

  uint32_t cpus_;
  uint64_t mask_;
  ZeroArray<Slot> slots_;
  ZeroArray<Entry> entries_;  // cpus_ rings, one after the other
  Store store_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_KERNEL_RING_H_
