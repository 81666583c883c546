// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_FREELIST_H_
#define RETPROBE_BENCH_PEERS_FREELIST_H_

#include <cstddef>
#include <cstdint>

#include "base/cache_line.h"
#include "base/cpu.h"
#include "peers/policy.h"
#include "peers/store.h"

namespace retprobe::bench {

// Lock-free stacks of indices, each with a count against reuse. With one stack:
// what kretprobe used before objpool (llist, then freelist.h). With one per
// CPU: a lock-free percpu freelist.
template <typename Policy>
class Freelists {
 public:
  Freelists(size_t count, size_t size, uint32_t stacks)
      : stacks_(stacks), heads_(stacks), links_(count), store_(count, size) {
    for (size_t i = 0; i < count; ++i) PushTo(i % stacks, store_.At(i));
  }
  void* Pop() {
    uint32_t stack = stacks_ == 1 ? 0 : Here<Policy>(stacks_);
    for (uint32_t i = 0; i < stacks_; ++i, stack = NextCpu(stack, stacks_)) {
      void* object = PopFrom(stack);
      if (object != nullptr) return object;
    }
    return nullptr;
  }
  void Push(void* object) {
    PushTo(stacks_ == 1 ? 0 : Here<Policy>(stacks_), object);
  }

 private:
  template <typename T>
  using Atomic = typename Policy::template Atomic<T>;
  static constexpr uint64_t kIndexMask = 0xffffffff;

  struct alignas(kCacheLine) Head {
    Atomic<uint64_t> word;  // pushes so far << 32 | (index on top + 1)
  };
  // Beside the objects, so that it may be read while one is in use, but like
  // them on a line of its own.
  struct alignas(64) Link {
    Atomic<uint32_t> below;
  };

  void* PopFrom(uint32_t stack) {
    Atomic<uint64_t>& head = heads_[stack].word;
    uint64_t old = head.load(std::memory_order_acquire);
    while ((old & kIndexMask) != 0) {
      const uint64_t index = (old & kIndexMask) - 1;
      const uint64_t below =
          links_[index].below.load(std::memory_order_relaxed);
      if (head.compare_exchange_weak(old, (old & ~kIndexMask) | below,
                                     std::memory_order_acquire,
                                     std::memory_order_acquire)) {
        return store_.At(index);
      }
    }
    return nullptr;
  }
  void PushTo(uint32_t stack, void* object) {
    Atomic<uint64_t>& head = heads_[stack].word;
    const uint32_t index = store_.IndexOf(object);
    uint64_t old = head.load(std::memory_order_relaxed);
    do {
      links_[index].below.store(static_cast<uint32_t>(old & kIndexMask),
                                std::memory_order_relaxed);
    } while (!head.compare_exchange_weak(
        old, (((old >> 32) + 1) << 32) | (index + 1), std::memory_order_release,
        std::memory_order_relaxed));
  }

  uint32_t stacks_;
  ZeroArray<Head> heads_;
  ZeroArray<Link> links_;
  Store store_;
};

template <typename Policy>
class Freelist : public Freelists<Policy> {
 public:
  Freelist(size_t count, size_t size) : Freelists<Policy>(count, size, 1) {}
};

template <typename Policy>
class LockFreePercpuFreelist : public Freelists<Policy> {
 public:
  LockFreePercpuFreelist(size_t count, size_t size,
                         uint32_t cpus = PossibleCpus())
      : Freelists<Policy>(count, size, cpus) {}
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_FREELIST_H_
