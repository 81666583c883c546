// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_FREELIST_H_
#define RETPROBE_OBJPOOL_FREELIST_H_

#include <atomic>
#include <cstdint>

#include "objpool/magazine.h"

namespace retprobe {

// Objects are told apart by 24 bits, here and in frozen magazines; the other 40
// of a word count.
inline constexpr int kIndexBits = 24;
inline constexpr uint64_t kIndexMask = (uint64_t{1} << kIndexBits) - 1;
inline constexpr uint32_t kNoIndex = ~uint32_t{0};
inline constexpr uint32_t kMaxObjects = kIndexMask - 1;
static_assert(kIndexBits == kFreezeShift);

// What `links` say of an object besides the link: that it is complete, or that
// it was retired.
inline constexpr uint32_t kCreated = 1 << kIndexBits;
inline constexpr uint32_t kRetired = 2 << kIndexBits;

// A lock-free stack (R. K. Treiber, 1986) of objects linked by index, pushed
// and popped by anyone. `links[i]` is the index below + 1, or 0 at the bottom;
// it lies beside the objects, never inside, so that it may be read while the
// object is in use.
//
// Every push counts the word up, so that an index that comes back to the top is
// not mistaken for not having been away. Pops need not: only a push puts one
// back. The count wraps at 2^40: a thread would have to sleep over exactly that
// many pushes to this one list. All zero is empty.
template <typename P>
class Freelist {
 public:
  template <typename T>
  using Atomic = typename P::template Atomic<T>;

  // Returns how many were pushed so far.
  uint64_t Push(Atomic<uint32_t>* links, uint32_t index,
                uint32_t mark = kCreated) noexcept {
    // relaxed: the CAS below validates it
    uint64_t old = top_.load(std::memory_order_relaxed);
    uint64_t next;
    do {
      // relaxed: R3 publishes it
      links[index].store(mark | static_cast<uint32_t>(old & kIndexMask),
                         std::memory_order_relaxed);
      next = (((old >> kIndexBits) + 1) << kIndexBits) | (index + 1);
      // R3 -> A3: publishes the object and its link.
      // S0 <-> S1: comes before the pusher's look at the flag (occupancy.h).
      // relaxed on failure: the next round validates it
    } while (!top_.compare_exchange_weak(old, next, std::memory_order_seq_cst,
                                         std::memory_order_relaxed));
    return next >> kIndexBits;
  }

  // Returns kNoIndex when the list is empty.
  uint32_t Pop(Atomic<uint32_t>* links) noexcept {
    uint32_t index;
    return Pop(links, &index, 1) != 0 ? index : kNoIndex;
  }

  // Takes up to `most` objects, at least 1, the youngest first. Returns how
  // many.
  [[gnu::always_inline]] uint32_t Pop(Atomic<uint32_t>* links,
                                      uint32_t* indices,
                                      uint32_t most) noexcept {
    // A3 <- R3: the objects and their links, as they were pushed.
    uint64_t old = top_.load(std::memory_order_acquire);
    for (;;) {
      uint64_t below = old & kIndexMask;
      uint32_t count = 0;
      while (below != 0 && count < most) {
        indices[count] = static_cast<uint32_t>(below) - 1;
        // relaxed: A3. If one of them has been popped and pushed elsewhere
        // meanwhile, its link is not ours, but then the CAS fails: who takes
        // from below has taken the top before.
        below = links[indices[count++]].load(std::memory_order_relaxed) &
                kIndexMask;
      }
      if (count == 0) return 0;
      // A3 <- R3: also when it fails, for the next round. Pops are
      // read-modify-writes and continue the release sequence of every push
      // below.
      if (top_.compare_exchange_weak(old, (old & ~kIndexMask) | below,
                                     std::memory_order_acquire,
                                     std::memory_order_acquire)) {
        return count;
      }
    }
  }

  bool IsEmpty() const noexcept {
    // S1 <-> S0: whoever cleared a flag sees what was pushed before its pusher
    // looked at the flag.
    return (top_.load(std::memory_order_seq_cst) & kIndexMask) == 0;
  }

  uint64_t pushes() const noexcept {
    // A3 <- R3: and keeps the load in its place in a search.
    return top_.load(std::memory_order_acquire) >> kIndexBits;
  }

  // Requires: nobody pushes or pops meanwhile.
  template <typename Visitor>
  void ForEach(Atomic<uint32_t>* links, Visitor&& visit) const {
    // relaxed, all: nobody writes
    uint64_t at = top_.load(std::memory_order_relaxed) & kIndexMask;
    while (at != 0) {
      visit(static_cast<uint32_t>(at - 1));
      at = links[at - 1].load(std::memory_order_relaxed) & kIndexMask;
    }
  }

 private:
  Atomic<uint64_t> top_;  // pushes so far << kIndexBits | (index on top + 1)
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_FREELIST_H_
