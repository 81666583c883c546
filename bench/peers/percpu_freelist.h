// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_PERCPU_FREELIST_H_
#define RETPROBE_BENCH_PEERS_PERCPU_FREELIST_H_

#include <cstddef>
#include <cstdint>

#include "base/cache_line.h"
#include "base/cpu.h"
#include "peers/policy.h"
#include "peers/store.h"

namespace retprobe::bench {

// How Pop comes to know that a CPU's list is empty.
enum class EmptyCheck {
  kLockEach,   // by locking it, waiting for the lock: Linux before 6.2
  kPeekFirst,  // by a look, and a lock that is held counts as empty: since then
};

// kernel/bpf/percpu_freelist.c: a locked list per CPU. Push goes on to the next
// CPU rather than wait.
template <typename Policy, EmptyCheck kCheck = EmptyCheck::kPeekFirst>
class PercpuFreelist {
 public:
  PercpuFreelist(size_t count, size_t size, uint32_t cpus = PossibleCpus())
      : cpus_(cpus), lists_(cpus), store_(count, size) {
    for (size_t i = 0; i < count; ++i) {
      Put(lists_[i % cpus], static_cast<Node*>(store_.At(i)));
    }
  }
  void* Pop() {
    uint32_t cpu = Here<Policy>(cpus_);
    for (uint32_t i = 0; i < cpus_; ++i, cpu = NextCpu(cpu, cpus_)) {
      List& list = lists_[cpu];
      if (!LockForPop(list)) continue;
      Node* node = list.first.load(std::memory_order_relaxed);
      if (node != nullptr) {
        list.first.store(node->next.load(std::memory_order_relaxed),
                         std::memory_order_relaxed);
      }
      Unlock(list);
      if (node != nullptr) return node;
    }
    return nullptr;
  }
  void Push(void* object) {
    uint32_t cpu = Here<Policy>(cpus_);
    while (!TryLock(lists_[cpu])) cpu = NextCpu(cpu, cpus_);
    Put(lists_[cpu], static_cast<Node*>(object));
    Unlock(lists_[cpu]);
  }

 private:
  template <typename T>
  using Atomic = typename Policy::template Atomic<T>;

  struct Node {
    Atomic<Node*> next;
  };
  struct alignas(kCacheLine) List {
    Atomic<bool> locked;
    Atomic<Node*> first;
  };

  static bool TryLock(List& list) {
    return !list.locked.exchange(true, std::memory_order_acquire);
  }
  static void Unlock(List& list) {
    list.locked.store(false, std::memory_order_release);
  }
  static bool LockForPop(List& list) {
    if constexpr (kCheck == EmptyCheck::kPeekFirst) {
      return list.first.load(std::memory_order_relaxed) != nullptr &&
             TryLock(list);
    }
    while (!TryLock(list)) {
      while (list.locked.load(std::memory_order_relaxed)) {
      }
    }
    return true;
  }
  static void Put(List& list, Node* node) {
    node->next.store(list.first.load(std::memory_order_relaxed),
                     std::memory_order_relaxed);
    list.first.store(node, std::memory_order_relaxed);
  }

  uint32_t cpus_;
  ZeroArray<List> lists_;
  Store store_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_PERCPU_FREELIST_H_
