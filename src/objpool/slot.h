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

// The ring as pools with rseq use it: entries of 32 bits. Only the ring's CPU
// pushes, in a restartable sequence, so the tail needs no compare-and-swap.

inline uint32_t* RseqEntries(Slot& slot) {
  return reinterpret_cast<uint32_t*>(&slot + 1);
}

inline arch::RseqResult RseqRingPush(Slot& slot, uint32_t cpu, uint64_t mask,
                                     uint32_t index, ptrdiff_t rseq) {
  // R0 -> A0: the sequence's last store, of the tail, publishes the entry.
  // A1 <- R1: its load of the head says which entries have been read.
  return arch::RseqRingPush(cpu, reinterpret_cast<uint64_t*>(&slot.tail),
                            reinterpret_cast<const uint64_t*>(&slot.head),
                            RseqEntries(slot), mask, index, rseq);
}

// Takes up to `most` objects, the oldest first. Returns how many.
inline uint32_t RseqRingPop(Slot& slot, uint64_t mask, uint32_t* indices,
                            uint32_t most) {
  uint32_t* const entries = RseqEntries(slot);
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

// The ring as pools without rseq use it: every entry carries its turn, as in
// D. Vyukov's bounded queue. A thread that is preempted in the middle of a push
// hides what is pushed behind it until it goes on.
//
// An entry is turn << kIndexBits | index; 2 * lap while it is free in that lap
// of the ring, 2 * lap + 1 while it is filled. Turns wrap at 2^40, that is
// after 2^39 laps.

inline std::atomic<uint64_t>* SequencedEntries(Slot& slot) {
  return reinterpret_cast<std::atomic<uint64_t>*>(&slot + 1);
}

inline uint64_t Turn(uint64_t position, int shift, uint64_t filled) {
  return ((position >> shift) * 2 + filled) << kIndexBits;
}

// How far `entry` is past `turn`; negative: its time has not come.
inline int64_t Past(uint64_t entry, uint64_t turn) {
  return static_cast<int64_t>((entry & ~kIndexMask) - turn);
}

// False when there is no room.
inline bool SequencedRingPush(Slot& slot, int shift, uint32_t index) {
  const uint64_t mask = (uint64_t{1} << shift) - 1;
  // relaxed: the entry's turn validates it
  uint64_t tail = slot.tail.load(std::memory_order_relaxed);
  for (;;) {
    std::atomic<uint64_t>& entry = SequencedEntries(slot)[tail & mask];
    const uint64_t turn = Turn(tail, shift, 0);
    // A3 <- R4: who emptied the entry is done with it.
    const int64_t past = Past(entry.load(std::memory_order_acquire), turn);
    if (past < 0) return false;
    if (past > 0) {
      // relaxed: as above
      tail = slot.tail.load(std::memory_order_relaxed);
      continue;
    }
    // relaxed: reserves only; the entry publishes
    if (slot.tail.compare_exchange_weak(tail, tail + 1,
                                        std::memory_order_relaxed,
                                        std::memory_order_relaxed)) {
      // R3 -> A4: publishes the object.
      entry.store((turn + (uint64_t{1} << kIndexBits)) | index,
                  std::memory_order_release);
      return true;
    }
  }
}

// kNoIndex when there is none.
inline uint32_t SequencedRingPop(Slot& slot, int shift) {
  const uint64_t mask = (uint64_t{1} << shift) - 1;
  // relaxed: the entry's turn validates it
  uint64_t head = slot.head.load(std::memory_order_relaxed);
  for (;;) {
    std::atomic<uint64_t>& entry = SequencedEntries(slot)[head & mask];
    const uint64_t turn = Turn(head, shift, 1);
    // A4 <- R3: the entry's object, as it was pushed.
    const uint64_t found = entry.load(std::memory_order_acquire);
    const int64_t past = Past(found, turn);
    if (past < 0) return kNoIndex;
    if (past > 0) {
      // relaxed: as above
      head = slot.head.load(std::memory_order_relaxed);
      continue;
    }
    // relaxed: reserves only; the entry publishes
    if (slot.head.compare_exchange_weak(head, head + 1,
                                        std::memory_order_relaxed,
                                        std::memory_order_relaxed)) {
      // R4 -> A3: the entry is free for the next lap.
      entry.store(turn + (uint64_t{1} << kIndexBits),
                  std::memory_order_release);
      return static_cast<uint32_t>(found & kIndexMask);
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
    // relaxed: R5 publishes it
    links[index].store(kCreated + static_cast<uint32_t>(old & kIndexMask),
                       std::memory_order_relaxed);
    next = (((old >> kIndexBits) + 1) << kIndexBits) | (index + 1);
    // R5 -> A5: publishes the object and its link. relaxed on failure: the next
    // round validates it
  } while (!slot.freelist.compare_exchange_weak(
      old, next, std::memory_order_release, std::memory_order_relaxed));
}

inline uint32_t FreelistPop(Slot& slot, std::atomic<uint32_t>* links) {
  // A5 <- R5: the object on top and its link, as they were pushed.
  uint64_t old = slot.freelist.load(std::memory_order_acquire);
  while ((old & kIndexMask) != 0) {
    const auto index = static_cast<uint32_t>(old & kIndexMask) - 1;
    // relaxed: A5. If the object has been popped and pushed elsewhere
    // meanwhile, its link is not ours, but then the CAS fails.
    const uint32_t below =
        links[index].load(std::memory_order_relaxed) - kCreated;
    // A5 <- R5: also when it fails, for the next round. Pops are
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
