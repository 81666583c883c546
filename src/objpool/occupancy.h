// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_OCCUPANCY_H_
#define RETPROBE_OBJPOOL_OCCUPANCY_H_

#include <atomic>
#include <cstdint>

#include "objpool/state.h"

namespace retprobe {

// Which places (a CPU's slot, a node's depot) may hold objects: a flag for
// each, packed, and in the pool's state how many are set. A tree of two levels
// that searches descend only where there may be something, after the scalable
// non-zero indicator of Ellen, Lev, Luchangco and Moir (2007): a place that
// holds an object is counted. The reverse need not hold. A push reads its
// place's flag, which is set but for the first time; a search that keeps
// finding nothing clears the flags of empty places.
//
// Clearing takes two steps, of which the first leaves the place counted, so
// that no object is ever out of sight:
//
//   clearing: flag = kClearing | number;   pushing: object is pushed;
//             (every CPU's) barrier;                look at the flag: unless it
//             place empty?                          is kCounted, make it that
//             flag = kUncounted, if still
//             kClearing | number; count -= 1
//
// Either the first sees the object, or the second the clearing (J. Dekker's
// way). Pushes by compare-and-swap are barriers of their own; those by
// restartable sequences are not, which is what the membarrier is for.
template <typename P>
class Occupancy {
 public:
  template <typename T>
  using Atomic = typename P::template Atomic<T>;

  static constexpr uint64_t kUncounted = 0;
  static constexpr uint64_t kCounted = 1;
  static constexpr uint64_t kClearing = 2;
  static constexpr int kNumberShift = 2;

  Occupancy(Atomic<uint64_t>& state, Atomic<uint64_t>* flags) noexcept
      : state_(state), flags_(flags) {}

  bool MayHold(uint32_t place) const noexcept {
    // A14 <- R14: who finds a flag cleared finds the clearing counted, too.
    return flags_[place].load(std::memory_order_acquire) != kUncounted;
  }

  // Whether Mark would find nothing to do. Requires: as it.
  bool IsMarked(uint32_t place) const noexcept {
    // S2 <-> S3: as below.
    return flags_[place].load(std::memory_order_seq_cst) == kCounted;
  }

  // Requires: an object was pushed to `place` just now.
  void Mark(uint32_t place) noexcept {
    // S2 <-> S3: sees a clearing that has not seen our object.
    uint64_t flag = flags_[place].load(std::memory_order_seq_cst);
    while (flag != kCounted) {
      const bool count = flag == kUncounted;
      // R4 -> A4: whoever reads the count as zero has not been told
      // of the push, else this would have come before.
      if (count) state_.fetch_add(kOnePlace, std::memory_order_acq_rel);
      // S2: as above, also on failure, for the next round.
      if (flags_[place].compare_exchange_strong(flag, kCounted,
                                                std::memory_order_seq_cst,
                                                std::memory_order_seq_cst)) {
        return;
      }
      // R4: as above.
      if (count) state_.fetch_sub(kOnePlace, std::memory_order_acq_rel);
    }
  }

  // The first step. False: there is nothing to clear.
  bool BeginClearing(uint32_t place, uint64_t number) noexcept {
    // relaxed: the CAS validates it
    uint64_t flag = flags_[place].load(std::memory_order_relaxed);
    // S3 <-> S2: before our look at the place. relaxed on failure: no step
    // taken
    return flag != kUncounted &&
           flags_[place].compare_exchange_strong(
               flag, number << kNumberShift | kClearing,
               std::memory_order_seq_cst, std::memory_order_relaxed);
  }
  // The second, after the barrier. `empty`: what the place was found since.
  void EndClearing(uint32_t place, uint64_t number, bool empty) noexcept {
    uint64_t flag = number << kNumberShift | kClearing;
    // R14 -> A14: the number is counted. S3: as above.
    // relaxed on failure: a push, or
    // another search, has changed its mind
    if (flags_[place].compare_exchange_strong(
            flag, empty ? kUncounted : kCounted, std::memory_order_seq_cst,
            std::memory_order_relaxed) &&
        empty) {
      // R4: who reads it knows what was taken before.
      state_.fetch_sub(kOnePlace, std::memory_order_acq_rel);
    }
  }

 private:
  Atomic<uint64_t>& state_;
  Atomic<uint64_t>* flags_;
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_OCCUPANCY_H_
