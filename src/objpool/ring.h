// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_RING_H_
#define RETPROBE_OBJPOOL_RING_H_

#include <atomic>
#include <cstdint>

#include "arch/arch.h"
#include "base/cache_line.h"

namespace retprobe {

// A CPU's ring of object indices. Only its own CPU pushes, in a restartable
// sequence whose last store is the tail, so a push needs no compare-and-swap
// and one that is cut short has done nothing; anyone pops. Entries are outside,
// a power of two of them. All zero is empty.
//
// Positions are 64 bits and never wrap: at 10^9 pops a second, in 584 years.
//
// Pools without rseq have none: a ring with compare-and-swap on both sides is
// either wrong under preemption (the kernel's, which keeps interrupts off), or
// hides what is behind a preempted push (D. Vyukov's). They have spares.
template <typename P>
class Ring {
 public:
  template <typename T>
  using Atomic = typename P::template Atomic<T>;

  arch::RseqResult Push(uint32_t cpu, Atomic<uint32_t>* entries, uint64_t mask,
                        uint32_t index) noexcept {
    // R0 -> A0: the sequence's last store, of the tail, publishes the entry.
    // A1 <- R1: its load of the head says which entries have been read.
    return P::RingPush(cpu, tail_, head_, entries, mask, index);
  }

  // Takes up to `most` objects, the oldest first. Returns how many.
  uint32_t Pop(Atomic<uint32_t>* entries, uint64_t mask, uint32_t* indices,
               uint32_t most) noexcept {
    // A2 <- R1: a tail loaded after this head is not behind it.
    uint64_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      // A0 <- R0: entries before the tail are the objects pushed there.
      const uint64_t tail = tail_.load(std::memory_order_acquire);
      const auto available = static_cast<int64_t>(tail - head);
      if (available <= 0) return 0;
      const auto count = static_cast<uint32_t>(
          available < static_cast<int64_t>(most) ? available : most);
      for (uint32_t i = 0; i < count; ++i) {
        // relaxed: the CAS below fails if the entry was overwritten, since that
        // takes a head further on
        indices[i] = entries[(head + i) & mask].load(std::memory_order_relaxed);
      }
      // R1 -> A1, A2: we have read the entries, they may be overwritten. On
      // failure A2 again, for the next round's tail.
      if (head_.compare_exchange_weak(head, head + count,
                                      std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return count;
      }
    }
  }

  // Whoever cleared a flag has made a membarrier since: it sees what was pushed
  // before its pusher looked at the flag.
  bool IsEmpty() const noexcept {
    // A2 <- R1: the tail is not behind the head.
    const uint64_t head = head_.load(std::memory_order_acquire);
    return head == tail_.load(std::memory_order_acquire);  // A0 <- R0
  }

  // A0 <- R0: keeps the load in its place in a search.
  uint64_t pushes() const noexcept {
    return tail_.load(std::memory_order_acquire);
  }

  // Requires: nobody pushes or pops meanwhile.
  template <typename Visitor>
  void ForEach(Atomic<uint32_t>* entries, uint64_t mask,
               Visitor&& visit) const {
    // relaxed, all: nobody writes
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    for (uint64_t at = head_.load(std::memory_order_relaxed); at != tail;
         ++at) {
      visit(entries[at & mask].load(std::memory_order_relaxed));
    }
  }

 private:
  // The position to pop next. Written by whoever pops, on any CPU.
  alignas(kCacheLine) Atomic<uint64_t> head_;
  // The position to push next. Written by pushes of this CPU only.
  alignas(kCacheLine) Atomic<uint64_t> tail_;
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_RING_H_
