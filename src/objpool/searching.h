// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_SEARCHING_H_
#define RETPROBE_OBJPOOL_SEARCHING_H_

#include "objpool/closing.h"
#include "objpool/pool_core.h"

// How a pop looks for an object everywhere, and knows that there is none: the
// node's depot, never used objects of the node, other CPUs nearest first, other
// depots, new objects; and when all of that is empty and there may still be
// objects in magazines, those.

namespace retprobe {

// How often a pop looks everywhere while others go on pushing behind it.
inline constexpr int kMaxRounds = 8;

// kNoIndex means that at some moment since the call no object was idle: the
// state said so, or a search found every place empty, and nobody had pushed
// between its first look at a place and its end. (Unless pushes overtook it
// kMaxRounds times; and a batch on its way into a magazine is not seen. Closed
// pools move no batches.)
template <typename P>
uint32_t BasicPoolCore<P>::TakeAny(uint32_t here, bool grow,
                                   bool asked) noexcept {
  uint64_t pushes = 0;
  for (int round = 0; round < kMaxRounds; ++round) {
    // A4: as in PopShared.
    const uint64_t state = header().state.load(std::memory_order_acquire);
    if (retprobe::IsEmpty(state)) return kNoIndex;
    if (!asked && (state & kFresh) == 0 && IsSettled(here, state) &&
        IsStillEmpty(here)) {
      NothingFound(here, state);
      return kNoIndex;
    }
    asked = false;
    pushes = Clearings();
    uint32_t index = Search(here, state, pushes);
    if (index == kNoIndex && (state & kFresh) != 0) {
      index = TakeFresh(here, grow);
    }
    if (index != kNoIndex) return index;
    if (!IsSettled(here, state) && Settle()) continue;
    if (pushes == Pushes()) {
      Slot<P>& slot = SlotOf(here);
      // relaxed: only we, about, write it
      if (slot.empty_at.load(std::memory_order_relaxed) != pushes) {
        // R13 -> A13: the searches that found it.
        slot.empty_at.store(pushes, std::memory_order_release);
        // relaxed: a count that may be a little wrong
        slot.futile.store(0, std::memory_order_relaxed);
      }
      NothingFound(here, state);
      break;
    }
  }
  return kNoIndex;
}

// Whether no magazine holds anything that flags and counts do not know of, or
// held at some moment of the call.
template <typename P>
bool BasicPoolCore<P>::IsSettled(uint32_t here, uint64_t state) noexcept {
  if ((state & kUnsettled) == 0) return true;
  if (!IsSoleFor(state, here) || !P::MagazineIsEmpty(this->magazines, here)) {
    return false;
  }
  // A4: as in PopShared; not before the sequence. The pool was open for this
  // CPU alone all the while.
  const uint64_t now = header().state.load(std::memory_order_acquire);
  return ((now ^ state) & kGenerationMask) == 0;
}

// Whether nothing was pushed since all places were seen empty.
template <typename P>
[[gnu::always_inline]] inline bool BasicPoolCore<P>::IsStillEmpty(
    uint32_t here) noexcept {
  // A13 <- R13: our look is a later one.
  return SlotOf(here).empty_at.load(std::memory_order_acquire) == Pushes();
}

// `pushes`: those before its look at each place.
template <typename P>
uint32_t BasicPoolCore<P>::Search(uint32_t here, uint64_t state,
                                  uint64_t& pushes) noexcept {
  const Occupancy<P> occupied = occupancy();
  const bool open = IsOpenFor(state, here);
  const uint32_t most =
      open || (this->use_spares && MovesBatches(state)) ? this->batch : 1;
  // Places that may hold objects, as far as the state knew.
  uint64_t left = (state & (kDying - 1)) / kOnePlace;
  const auto look = [&](uint32_t place) {
    if (!occupied.MayHold(place)) return kNoIndex;
    --left;
    pushes += PushesTo(place);
    const uint32_t index = TakeShared(place, most);
    if (index != kNoIndex || (open && (state & kSole) == 0)) return index;
    return TakeFrozen(place);
  };
  const uint32_t depot = this->cpus + NodeOf(here);
  uint32_t index = look(here);
  if (index == kNoIndex && depot != here) index = look(depot);
  if (index == kNoIndex && (state & kFresh) != 0) {
    index = TakeInitial(this->ranges[NodeOf(here)]);
  }
  if (index != kNoIndex || static_cast<int64_t>(left) <= 0) return index;

  if (this->cpus != 0) {
    const uint32_t row = here < this->cpus ? here : 0;
    if (row != here) index = look(row);
    uint32_t victim = 0;
    for (StealCursor at(this->steal, row);
         index == kNoIndex && left != 0 && at.Next(victim);) {
      if (victim < this->cpus) index = look(victim);
    }
  }
  for (uint32_t i = 0; index == kNoIndex && i < this->nodes; ++i) {
    if (this->cpus + i != depot) index = look(this->cpus + i);
  }
  // relaxed: statistic
  if (index != kNoIndex) {
    SlotOf(here).steals.fetch_add(1, std::memory_order_relaxed);
  }
  return index;
}

// How many objects were ever pushed to `place`. And 1, so that a sum also tells
// of a place that a search has left out: what was frozen in a magazine has not
// been pushed.
template <typename P>
[[gnu::always_inline]] inline uint64_t BasicPoolCore<P>::PushesTo(
    uint32_t place) const noexcept {
  const Slot<P>& slot = SlotOf(place);
  return 1 + slot.freelist.pushes() +
         (this->use_rseq ? slot.ring.pushes() : slot.spares.pushes());
}

// How many objects were pushed to all places that may hold some, but `place`.
template <typename P>
[[gnu::always_inline]] inline uint64_t BasicPoolCore<P>::PushesToOthers(
    uint32_t place) noexcept {
  const Occupancy<P> occupied = occupancy();
  const uint32_t end = places();
  uint64_t pushes = 0;
  for (uint32_t i = 0; i < end; ++i) {
    if (i != place && occupied.MayHold(i)) pushes += PushesTo(i);
  }
  return pushes;
}

// How many were pushed to all of them. Never less than before, and more after
// every push.
template <typename P>
[[gnu::always_inline]] inline uint64_t BasicPoolCore<P>::Pushes() noexcept {
  return PushesToOthers(places()) + Clearings();
}

// Clearing a place takes its pushes out of the sum, but adds more to it; so
// does settling, which makes objects known that were not pushed.
template <typename P>
[[gnu::always_inline]] inline uint64_t BasicPoolCore<P>::Clearings() noexcept {
  // relaxed: MayHold orders it
  return clearings.load(std::memory_order_relaxed) << 44;
}

// A pop has found nothing.
template <typename P>
[[gnu::always_inline]] inline void BasicPoolCore<P>::NothingFound(
    uint32_t here, uint64_t state) noexcept {
  if ((state & kCalm) != 0) {
    // relaxed: a hint
    header().state.fetch_and(~kCalm, std::memory_order_relaxed);
  }
  if (IsFutile(SlotOf(here))) ClearEmptyPlaces();
}

// Counts a search that found nothing new. Whether there were enough of them.
template <typename P>
[[gnu::always_inline]] inline bool BasicPoolCore<P>::IsFutile(
    Slot<P>& slot) noexcept {
  // relaxed, both: a count that may be a little wrong
  const uint32_t count = slot.futile.load(std::memory_order_relaxed) + 1;
  const bool enough = count >= this->futile_limit;
  slot.futile.store(enough ? 0 : count, std::memory_order_relaxed);
  return enough;
}

template <typename P>
[[gnu::noinline]] void BasicPoolCore<P>::ClearEmptyPlaces() noexcept {
  Occupancy<P> occupied = occupancy();
  // relaxed: only has to be another number each time
  const uint64_t number = clearings.fetch_add(1, std::memory_order_relaxed);
  bool any = false;
  for (uint32_t place = 0; place < places(); ++place) {
    any |= occupied.BeginClearing(place, number);
  }
  // Pools without rseq push by compare-and-swap alone, which orders itself.
  if (!any || (this->use_rseq && !P::Barrier())) return;
  for (uint32_t place = 0; place < places(); ++place) {
    if (occupied.MayHold(place)) {
      occupied.EndClearing(place, number, IsPlaceEmpty(place));
    }
  }
}

template <typename P>
bool BasicPoolCore<P>::IsPlaceEmpty(uint32_t place) noexcept {
  const Slot<P>& slot = SlotOf(place);
  if (!slot.freelist.IsEmpty()) return false;
  if (place >= this->cpus) return true;
  if (!this->use_rseq) return slot.spares.IsEmpty();
  if (!slot.ring.IsEmpty()) return false;
  if (!this->use_magazines) return true;
  const Magazine& magazine = MagazineOf(place);
  // relaxed: whoever freezes marks the place afterwards
  return !IsFrozen(magazine.front.load(std::memory_order_relaxed)) &&
         !IsFrozen(magazine.count.load(std::memory_order_relaxed));
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_SEARCHING_H_
