// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_OPENING_H_
#define RETPROBE_OBJPOOL_OPENING_H_

#include "objpool/pool_core.h"

// How a closed pool (closing.h) opens again: for all CPUs when nobody has gone
// without for a while; for one alone when nobody else pushes.
//
// A pool that is short of objects in one thread only would stay closed, though
// no other CPU has any to be found. It opens for that CPU: the gate lets CPUs
// up to it in, and those below find both words of their magazines barred, which
// looks frozen to their sequences and holds nothing. So all objects are in
// places that flags and counts know of, or in one magazine, which its own CPU
// can look into: null needs no closing. Others use shared places, and close the
// pool when they find nothing there.
//
// Every bar has a number of its own, like a freeze, and every opening for one
// CPU bars anew: who slept between reading a bar and lifting it fails.

namespace retprobe {

// How often a CPU must have been alone, at most, before the pool opens for it.
inline constexpr uint32_t kMaxLonePatience = 64;

// Told now and then that CPU `here`, if it is one, pushes. Pools with spares
// open, too: for all, and shut no gate.
template <typename P>
[[gnu::noinline]] void BasicPoolCore<P>::Ease(uint32_t here) noexcept {
  // A4: as in PopShared; what a settled pool's flags know.
  uint64_t state = header().state.load(std::memory_order_acquire);
  if ((state & (kDying | kShrinking)) != 0 || IsOpenFor(state, here)) return;
  if (IsOpen(state) && (state & kSole) == 0) return;
  if (this->use_spares && (state & kUnsettled) != 0) return;
  if ((state & kCalm) == 0) {
    if (this->use_magazines && !IsOpen(state) && IsLone(here) &&
        OpenFor(here, state)) {
      return;
    }
    // relaxed: a hint
    header().state.fetch_or(kCalm, std::memory_order_relaxed);
    return;
  }
  // relaxed: any capacity is right
  header().capacity.store(this->array_capacity, std::memory_order_relaxed);
  // Unsettled before the first sequence can see the gate open. relaxed, both:
  // nothing is published, and the next one who is calm tries again
  header().state.compare_exchange_strong(
      state,
      ((state & ~(kCalm | kSole | kGateMask)) | header().cpus | kUnsettled) +
          kOneGeneration,
      std::memory_order_relaxed, std::memory_order_relaxed);
}

// Whether CPU `here` has been the only one to push, for long enough.
template <typename P>
bool BasicPoolCore<P>::IsLone(uint32_t here) noexcept {
  if (here >= this->cpus) return false;
  Slot<P>& slot = SlotOf(here);
  const uint64_t others = PushesToOthers(here);
  // relaxed, all: only we, about, write them
  const bool same = slot.others.load(std::memory_order_relaxed) == others;
  const uint32_t times =
      same ? slot.alone.load(std::memory_order_relaxed) + 1 : 0;
  slot.others.store(others, std::memory_order_relaxed);
  slot.alone.store(times, std::memory_order_relaxed);
  return times > lone_patience.load(std::memory_order_relaxed);
}

// Opens a pool that `state` says is closed and settled for `cpu` alone. False:
// it is not, or magazines that would have to be barred hold objects.
template <typename P>
bool BasicPoolCore<P>::OpenFor(uint32_t cpu, uint64_t state) noexcept {
  if ((state & (kGateMask | kUnsettled | kFresh)) != 0) return false;
  for (uint32_t i = 0; i < cpu; ++i) {
    if (!Bar(MagazineOf(i).front) || !Bar(MagazineOf(i).count)) return false;
  }
  // relaxed: any capacity is right
  header().capacity.store(this->sole_capacity, std::memory_order_relaxed);
  const uint64_t generation = state & kGenerationMask;
  constexpr uint64_t kOther = kUnsettled | kFresh | kDying | kShrinking;
  while ((state & kGenerationMask) == generation && (state & kOther) == 0) {
    // R16 -> A16, and the sequences of other CPUs (plain loads, which acquire
    // on x86): their magazines are barred. relaxed on failure: the next round
    // validates it
    if (header().state.compare_exchange_weak(
            state,
            ((state & ~kCalm) | kSole | kUnsettled | (cpu + 1)) +
                kOneGeneration,
            std::memory_order_release, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

// Makes sequences keep off a word that holds nothing. False: it does.
template <typename P>
bool BasicPoolCore<P>::Bar(Atomic<int64_t>& word) noexcept {
  // relaxed, all: the opening that follows publishes it
  int64_t old = word.load(std::memory_order_relaxed);
  uint64_t barred;
  do {
    if (old != 0 && !IsBarred(old)) return false;
    const uint64_t number = freezes.fetch_add(1, std::memory_order_relaxed);
    barred =
        kFrozen | ((number & kFreezesMask) << kFreezeShift) | kFrozenValueMask;
  } while (!word.compare_exchange_weak(old, static_cast<int64_t>(barred),
                                       std::memory_order_relaxed,
                                       std::memory_order_relaxed));
  return true;
}

// Lets CPU `cpu` use its magazine again, if the pool is open for it.
template <typename P>
[[gnu::noinline]] void BasicPoolCore<P>::LiftBars(uint32_t cpu) noexcept {
  Magazine& magazine = MagazineOf(cpu);
  for (Atomic<int64_t>* word : {&magazine.front, &magazine.count}) {
    // A16: before the state. An opening that needs this very bar comes
    // later than a state that does not.
    int64_t barred = word->load(std::memory_order_acquire);
    if (!IsBarred(barred)) continue;
    // A16 <- R16: no older than the opening that the bar was made for.
    const uint64_t state = header().state.load(std::memory_order_acquire);
    if (!IsOpenFor(state, cpu)) return;
    // relaxed: nothing is published
    word->compare_exchange_strong(barred, 0, std::memory_order_relaxed,
                                  std::memory_order_relaxed);
  }
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_OPENING_H_
