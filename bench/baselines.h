// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_BASELINES_H_
#define RETPROBE_BENCH_BASELINES_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/cache_line.h"
#include "base/cpu.h"

// What else one could take objects from, each as good as it gets in a page:
// Pop() -> object or null, Push(object). All inline, where ours is a call into
// the library.

namespace retprobe::bench {

// The objects themselves.
class Store {
 public:
  Store(size_t count, size_t size)
      : stride_((size + 63) / 64 * 64),
        bytes_(static_cast<std::byte*>(
            std::aligned_alloc(64, (count + 1) * stride_))) {}
  void* At(size_t index) const { return bytes_.get() + index * stride_; }
  uint32_t IndexOf(const void* object) const {
    return static_cast<uint32_t>(
        (static_cast<const std::byte*>(object) - bytes_.get()) / stride_);
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  size_t stride_;
  std::unique_ptr<std::byte[], Free> bytes_;
};

inline uint32_t Here(uint32_t cpus) {
  const auto cpu = static_cast<uint32_t>(CurrentCpu());
  return cpu < cpus ? cpu : 0;
}

// lib/objpool.c of Linux: a ring per CPU, of room for all objects; pop looks
// into every CPU's. The kernel keeps interrupts off between taking a position
// and filling it; here per-entry sequences (D. Vyukov) say when it is filled.
class KernelRing {
 public:
  KernelRing(size_t count, size_t size, int cpus = PossibleCpus())
      : cpus_(cpus), slots_(cpus_), store_(count, size) {
    const uint64_t capacity = std::bit_ceil(count);
    for (Slot& slot : slots_) {
      slot.mask = capacity - 1;
      slot.entries = std::make_unique<Entry[]>(capacity);
      for (uint64_t i = 0; i < capacity; ++i) slot.entries[i].turn = i;
    }
    for (size_t i = 0; i < count; ++i) {
      PushTo(slots_[i % cpus_], store_.At(i));
    }
  }
  void* Pop() {
    const uint32_t here = Here(cpus_);
    for (uint32_t i = 0; i < cpus_; ++i) {
      const uint32_t cpu = here + i;
      void* object = PopFrom(slots_[cpu < cpus_ ? cpu : cpu - cpus_]);
      if (object != nullptr) return object;
    }
    return nullptr;
  }
  void Push(void* object) { PushTo(slots_[Here(cpus_)], object); }

 private:
  struct Entry {
    std::atomic<uint64_t> turn;
    void* object;
  };
  struct alignas(kCacheLine) Slot {
    uint64_t mask;
    std::unique_ptr<Entry[]> entries;
    alignas(kCacheLine) std::atomic<uint64_t> head{0};
    alignas(kCacheLine) std::atomic<uint64_t> tail{0};
  };

  static void PushTo(Slot& slot, void* object) {
    uint64_t tail = slot.tail.load(std::memory_order_relaxed);
    for (;;) {
      Entry& entry = slot.entries[tail & slot.mask];
      if (entry.turn.load(std::memory_order_acquire) != tail) {
        tail = slot.tail.load(std::memory_order_relaxed);
      } else if (slot.tail.compare_exchange_weak(tail, tail + 1,
                                                 std::memory_order_relaxed)) {
        entry.object = object;
        entry.turn.store(tail + 1, std::memory_order_release);
        return;
      }
    }
  }
  static void* PopFrom(Slot& slot) {
    uint64_t head = slot.head.load(std::memory_order_relaxed);
    for (;;) {
      Entry& entry = slot.entries[head & slot.mask];
      const auto past = static_cast<int64_t>(
          entry.turn.load(std::memory_order_acquire) - (head + 1));
      if (past < 0) return nullptr;
      if (past > 0) {
        head = slot.head.load(std::memory_order_relaxed);
      } else if (slot.head.compare_exchange_weak(head, head + 1,
                                                 std::memory_order_relaxed)) {
        void* object = entry.object;
        entry.turn.store(head + slot.mask + 1, std::memory_order_release);
        return object;
      }
    }
  }

  uint32_t cpus_;
  std::vector<Slot> slots_;
  Store store_;
};

// One lock-free stack for all, of indices with a count against reuse: what
// kretprobe used before objpool (llist, then freelist.h).
class Freelist {
 public:
  Freelist(size_t count, size_t size)
      : store_(count, size), links_(std::make_unique<Link[]>(count)) {
    for (size_t i = 0; i < count; ++i) Push(store_.At(i));
  }
  void* Pop() {
    uint64_t old = head_.load(std::memory_order_acquire);
    while ((old & kIndexMask) != 0) {
      const uint64_t index = (old & kIndexMask) - 1;
      const uint64_t below = links_[index].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(old, (old & ~kIndexMask) | below,
                                      std::memory_order_acquire)) {
        return store_.At(index);
      }
    }
    return nullptr;
  }
  void Push(void* object) {
    const uint32_t index = store_.IndexOf(object);
    uint64_t old = head_.load(std::memory_order_relaxed);
    do {
      links_[index].store(static_cast<uint32_t>(old & kIndexMask),
                          std::memory_order_relaxed);
    } while (!head_.compare_exchange_weak(
        old, (((old >> 32) + 1) << 32) | (index + 1), std::memory_order_release,
        std::memory_order_relaxed));
  }

 private:
  using Link = std::atomic<uint32_t>;
  static constexpr uint64_t kIndexMask = 0xffffffff;
  Store store_;
  std::unique_ptr<Link[]> links_;
  alignas(kCacheLine) std::atomic<uint64_t> head_{0};
};

// kernel/bpf/percpu_freelist.c: a locked list per CPU; pop peeks before it
// locks, push goes on to the next CPU rather than wait.
class PercpuFreelist {
 public:
  PercpuFreelist(size_t count, size_t size, int cpus = PossibleCpus())
      : cpus_(cpus), lists_(cpus_), store_(count, size) {
    for (size_t i = 0; i < count; ++i) {
      auto* node = static_cast<Node*>(store_.At(i));
      node->next = lists_[i % cpus_].first;
      lists_[i % cpus_].first = node;
    }
  }
  void* Pop() {
    const uint32_t here = Here(cpus_);
    for (uint32_t i = 0; i < cpus_; ++i) {
      const uint32_t cpu = here + i;
      List& list = lists_[cpu < cpus_ ? cpu : cpu - cpus_];
      if (list.first.load(std::memory_order_relaxed) == nullptr) continue;
      if (!list.TryLock()) continue;
      Node* node = list.first.load(std::memory_order_relaxed);
      if (node != nullptr) {
        list.first.store(node->next, std::memory_order_relaxed);
      }
      list.Unlock();
      if (node != nullptr) return node;
    }
    return nullptr;
  }
  void Push(void* object) {
    auto* node = static_cast<Node*>(object);
    for (uint32_t cpu = Here(cpus_);; cpu = cpu + 1 < cpus_ ? cpu + 1 : 0) {
      List& list = lists_[cpu];
      if (!list.TryLock()) continue;
      node->next = list.first.load(std::memory_order_relaxed);
      list.first.store(node, std::memory_order_relaxed);
      list.Unlock();
      return;
    }
  }

 private:
  struct Node {
    Node* next;
  };
  struct alignas(kCacheLine) List {
    std::atomic<bool> locked{false};
    std::atomic<Node*> first{nullptr};
    bool TryLock() { return !locked.exchange(true, std::memory_order_acquire); }
    void Unlock() { locked.store(false, std::memory_order_release); }
  };

  uint32_t cpus_;
  std::vector<List> lists_;
  Store store_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_BASELINES_H_
