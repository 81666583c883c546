// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_MAGAZINE_H_
#define RETPROBE_OBJPOOL_MAGAZINE_H_

#include <cstddef>
#include <cstdint>

#include "retprobe/arch/magazine.h"

// The first tier: per CPU a few object pointers, changed by restartable
// sequences of that CPU alone. retprobe/arch/x86_64/magazine.h has the layout
// and the fast paths; closing.h says how others come by what is in a magazine.

namespace retprobe {

class ObjPool;
template <typename P>
struct Slot;

// Both words of a magazine, count and front, are frozen by a compare-and-swap
// to a negative number that is never the same twice, so that who slept over a
// thaw and another freeze notices:
//   bit 63     frozen
//   bit 62     confirmed: an rseq membarrier has passed since; objects may be
//              taken by compare-and-swap of the word
//   bits 24..  how many freezes the pool had seen before this one
//   0..23      count: objects in the array, at least 1; front: the object's
//              index
//
// A word that holds nothing may be barred, see opening.h: negative, not
// confirmed, bits 0..23 all set, which is no object's index.
inline constexpr uint64_t kFrozen = uint64_t{1} << 63;
inline constexpr uint64_t kConfirmed = uint64_t{1} << 62;
inline constexpr int kFreezeShift = 24;
inline constexpr uint64_t kFreezesMask = (kConfirmed >> kFreezeShift) - 1;
inline constexpr uint64_t kFrozenValueMask = (uint64_t{1} << kFreezeShift) - 1;

inline int64_t FrozenValue(int64_t word) {
  return static_cast<int64_t>(static_cast<uint64_t>(word) & kFrozenValueMask);
}
inline bool IsConfirmed(int64_t word) {
  return word < 0 && (static_cast<uint64_t>(word) & kConfirmed) != 0;
}
inline bool IsBarred(int64_t word) {
  return word < 0 && !IsConfirmed(word) &&
         FrozenValue(word) == static_cast<int64_t>(kFrozenValueMask);
}
inline bool IsFrozen(int64_t word) { return word < 0 && !IsBarred(word); }

template <typename P>
struct BasicMagazine {
  template <typename T>
  using Atomic = typename P::template Atomic<T>;

  Atomic<int64_t> count;
  Atomic<uint64_t> objects[RETPROBE_MAGAZINE_SLOTS];
  Atomic<int64_t> front;
};

// What lies in front of a pool's magazines: all that fast paths read and
// nobody, in a steady state, writes.
template <typename P>
struct BasicMagazineHeader {
  template <typename T>
  using Atomic = typename P::template Atomic<T>;

  // The gate and the rest; see state.h.
  Atomic<uint64_t> state;
  // Objects a magazine's array may hold, 0..RETPROBE_MAGAZINE_SLOTS: more while
  // the pool is open for one CPU alone.
  Atomic<uint64_t> capacity;
  // CPU ids below this have a magazine; 0 when the pool does not use rseq.
  uint64_t cpus;
  // CPU 0's count of misses; the others' follow at a magazine's distance.
  Atomic<uint64_t>* misses;
  ObjPool* pool;
  void* core;  // the same pool, as the slow paths know it
  // In pools with spares that nobody watches: the slots, and how many CPUs have
  // one; else 0.
  Slot<P>* lean;
  uint64_t lean_cpus;
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_MAGAZINE_H_
