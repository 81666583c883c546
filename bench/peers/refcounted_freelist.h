// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_REFCOUNTED_FREELIST_H_
#define RETPROBE_BENCH_PEERS_REFCOUNTED_FREELIST_H_

#include <cstddef>
#include <cstdint>

#include "base/cache_line.h"
#include "peers/policy.h"
#include "peers/store.h"

namespace retprobe::bench {

// One lock-free stack whose nodes count who looks at them, so that a node does
// not come back to the top under somebody's eyes: the algorithm of C.
// Desrochers ("Solving the ABA problem for lock-free free lists", 2014), which
// kretprobe used before objpool (include/linux/freelist.h).
template <typename Policy>
class RefcountedFreelist {
 public:
  RefcountedFreelist(size_t count, size_t size)
      : head_(1), nodes_(count), store_(count, size) {
    for (size_t i = 0; i < count; ++i) Add(&nodes_[i]);
  }
  void* Pop() {
    Node* node = top().load(std::memory_order_acquire);
    while (node != nullptr) {
      Node* const seen = node;
      uint32_t refs = seen->refs.load(std::memory_order_relaxed);
      if ((refs & kRefs) == 0 || !seen->refs.compare_exchange_strong(
                                     refs, refs + 1, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
        node = top().load(std::memory_order_acquire);
        continue;
      }
      // It cannot be pushed while we count, so its link stays.
      Node* const below = seen->below.load(std::memory_order_relaxed);
      if (top().compare_exchange_strong(node, below, std::memory_order_acquire,
                                        std::memory_order_acquire)) {
        // Ours and the list's.
        seen->refs.fetch_sub(2, std::memory_order_release);
        return store_.At(seen - &nodes_[0]);
      }
      if (seen->refs.fetch_sub(1, std::memory_order_acq_rel) == kWanted + 1) {
        Add(seen);
      }
    }
    return nullptr;
  }
  void Push(void* object) {
    Node* const node = &nodes_[store_.IndexOf(object)];
    // Else the last to look at it adds it.
    if (node->refs.fetch_add(kWanted, std::memory_order_acq_rel) == 0) {
      Add(node);
    }
  }

 private:
  template <typename T>
  using Atomic = typename Policy::template Atomic<T>;
  static constexpr uint32_t kWanted = 0x80000000;  // it should be on the list
  static constexpr uint32_t kRefs = kWanted - 1;

  struct alignas(64) Node {
    Atomic<uint32_t> refs;
    Atomic<Node*> below;
  };
  struct alignas(kCacheLine) Head {
    Atomic<Node*> top;
  };
  Atomic<Node*>& top() { return head_[0].top; }

  // Requires: nobody looks at the node.
  void Add(Node* node) {
    Node* below = top().load(std::memory_order_relaxed);
    for (;;) {
      node->below.store(below, std::memory_order_relaxed);
      node->refs.store(1, std::memory_order_release);
      if (top().compare_exchange_strong(below, node, std::memory_order_release,
                                        std::memory_order_relaxed)) {
        return;
      }
      if (node->refs.fetch_add(kWanted - 1, std::memory_order_acq_rel) != 1) {
        return;
      }
    }
  }

  ZeroArray<Head> head_;
  ZeroArray<Node> nodes_;
  Store store_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_REFCOUNTED_FREELIST_H_
