// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_SLOT_H_
#define RETPROBE_OBJPOOL_SLOT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/arch.h"
#include "base/cache_line.h"

// The second and third tier: per CPU a ring and a freelist of objects, which
// are known here by index. All are safe against threads, preemption, migration
// and nested signals; none waits.

namespace retprobe {

// Objects are told apart by 24 bits; the other 40 of a word count.
inline constexpr int kIndexBits = 24;
inline constexpr uint64_t kIndexMask = (uint64_t{1} << kIndexBits) - 1;
inline constexpr uint32_t kNoIndex = ~uint32_t{0};
inline constexpr uint32_t kMaxObjects = kIndexMask - 1;

// One CPU's state besides its magazine. All zero is empty and valid, so that
// memory fresh from mmap needs no touch. The ring's entries follow.
//
// Positions are 64 bits and never wrap: at 10^9 pops a second, in 584 years.
struct Slot {
  // The position to pop next. Written by whoever pops, on any CPU.
  alignas(kCacheLine) std::atomic<uint64_t> head;

  // The position to push next. Written by pushes of this CPU only.
  alignas(kCacheLine) std::atomic<uint64_t> tail;

  // Pushes so far << kIndexBits | (index on top + 1). Written by anyone.
  alignas(kCacheLine) std::atomic<uint64_t> freelist;

  // Written by slow paths of this CPU (and, when a thread moves on in their
  // middle, of others).
  alignas(kCacheLine) std::atomic<uint64_t> steals;
  std::atomic<uint64_t> drains;
  std::atomic<uint64_t> misses;
  std::atomic<uint32_t> calm_pushes;  // since the pool was found starved
};

// The ring: entries of 32 bits. Only the ring's CPU pushes, in a restartable
// sequence, so the tail needs no compare-and-swap, and a push cut short has
// done nothing. Pools without rseq have none: a ring with compare-and-swap on
// both sides is either wrong under preemption (the kernel's), or hides what is
// behind a preempted push (D. Vyukov's, as fork and full pools then notice), or
// costs as much as the freelist.

inline uint32_t* RingEntries(Slot& slot) {
  return reinterpret_cast<uint32_t*>(&slot + 1);
}

inline arch::RseqResult RingPush(Slot& slot, uint32_t cpu, uint64_t mask,
                                 uint32_t index, ptrdiff_t rseq) {
  // R0 -> A0, A7: the sequence's last store, of the tail, publishes the entry.
  // A1 <- R1: its load of the head says which entries have been read.
  return arch::RseqRingPush(cpu, reinterpret_cast<uint64_t*>(&slot.tail),
                            reinterpret_cast<const uint64_t*>(&slot.head),
                            RingEntries(slot), mask, index, rseq);
}

// Takes up to `most` objects, the oldest first. Returns how many.
inline uint32_t RingPop(Slot& slot, uint64_t mask, uint32_t* indices,
                        uint32_t most) {
  uint32_t* const entries = RingEntries(slot);
  // A2 <- R1: a tail loaded after this head is not behind it.
  uint64_t head = slot.head.load(std::memory_order_acquire);
  for (;;) {
    // A0 <- R0: entries before the tail are the objects pushed there.
    const uint64_t tail = slot.tail.load(std::memory_order_acquire);
    const auto available = static_cast<int64_t>(tail - head);
    if (available <= 0) return 0;
    const auto count = static_cast<uint32_t>(
        available < static_cast<int64_t>(most) ? available : most);
    for (uint32_t i = 0; i < count; ++i) {
      // relaxed: the CAS below fails if the entry was overwritten, since that
      // takes a head further on
      indices[i] = std::atomic_ref<uint32_t>(entries[(head + i) & mask])
                       .load(std::memory_order_relaxed);
    }
    // R1 -> A1, A2: we have read the entries, they may be overwritten. On
    // failure A2 again, for the next round's tail.
    if (slot.head.compare_exchange_weak(head, head + count,
                                        std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
      return count;
    }
  }
}

// The freelist: a stack linked by index. `links[i]` is, for a created object,
// kCreated + (index below + 1), or kCreated at the bottom; it lies beside the
// objects, never inside, so that it may be read while the object is in use.
//
// Every push counts the word up, so that an index that comes back to the top is
// not mistaken for not having been away. Pops need not: only a push puts one
// back. The count wraps at 2^40: a thread would have to sleep over exactly that
// many pushes to this one list.

inline constexpr uint32_t kCreated = 1;

inline void FreelistPush(Slot& slot, std::atomic<uint32_t>* links,
                         uint32_t index) {
  // relaxed: the CAS below validates it
  uint64_t old = slot.freelist.load(std::memory_order_relaxed);
  uint64_t next;
  do {
    // relaxed: R3 publishes it
    links[index].store(kCreated + static_cast<uint32_t>(old & kIndexMask),
                       std::memory_order_relaxed);
    next = (((old >> kIndexBits) + 1) << kIndexBits) | (index + 1);
    // R3 -> A3, A7: publishes the object and its link. relaxed on failure: the
    // next round validates it
  } while (!slot.freelist.compare_exchange_weak(
      old, next, std::memory_order_release, std::memory_order_relaxed));
}

inline uint32_t FreelistPop(Slot& slot, std::atomic<uint32_t>* links) {
  // A3 <- R3: the object on top and its link, as they were pushed.
  uint64_t old = slot.freelist.load(std::memory_order_acquire);
  while ((old & kIndexMask) != 0) {
    const auto index = static_cast<uint32_t>(old & kIndexMask) - 1;
    // relaxed: A3. If the object has been popped and pushed elsewhere
    // meanwhile, its link is not ours, but then the CAS fails.
    const uint32_t below =
        links[index].load(std::memory_order_relaxed) - kCreated;
    // A3 <- R3: also when it fails, for the next round. Pops are
    // read-modify-writes and continue the release sequence of every push below.
    if (slot.freelist.compare_exchange_weak(old, (old & ~kIndexMask) | below,
                                            std::memory_order_acquire,
                                            std::memory_order_acquire)) {
      return index;
    }
  }
  return kNoIndex;
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_SLOT_H_
