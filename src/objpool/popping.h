// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_POPPING_H_
#define RETPROBE_OBJPOOL_POPPING_H_

#include "objpool/closing.h"
#include "objpool/debug_checks.h"
#include "objpool/pool_core.h"

// What a pop does when this CPU's magazine has nothing: the own slot, the
// node's depot, never used objects of the node, other CPUs nearest first, other
// depots, new objects; and when all of that is empty and there may still be
// objects in magazines, those.

namespace retprobe {

// How often a pop looks everywhere while others go on pushing behind it.
inline constexpr int kMaxRounds = 8;

// A place for threads of a CPU that is not known: the first depot.
template <typename P>
uint32_t BasicPoolCore<P>::Here() const noexcept {
  const uint32_t cpu = P::Cpu(this->use_rseq);
  return cpu < this->cpus ? cpu : this->cpus;
}

template <typename P>
[[gnu::always_inline]] inline void* BasicPoolCore<P>::TakeSpare(
    uint32_t place) noexcept {
  Atomic<uint64_t>& spare = SlotOf(place).spare;
  // Not worth taking the line for, when it is empty.
  // A15 <- R15: then the list below is as who took it saw it, or newer.
  if (spare.load(std::memory_order_acquire) == 0) return nullptr;
  // A10 <- R10: the object as it was pushed.
  // R15 -> A15: what we have seen pushed before.
  return reinterpret_cast<void*>(spare.exchange(0, std::memory_order_acq_rel));
}

// Takes one object from where all can reach it, and up to `most` - 1 more into
// this CPU's magazine.
template <typename P>
[[gnu::always_inline]] inline uint32_t BasicPoolCore<P>::TakeShared(
    uint32_t place, uint32_t most) noexcept {
  Slot<P>& slot = SlotOf(place);
  if (place < this->cpus) {
    if (this->use_rseq) {
      uint32_t taken[kMaxBatch];
      const uint32_t count = slot.ring.Pop(EntriesOf(place), ring_mask(), taken,
                                           most < kMaxBatch ? most : kMaxBatch);
      for (uint32_t i = 1; i < count; ++i) Cache(taken[i]);
      if (count != 0) return taken[0];
    } else if (this->use_spare) {
      void* const spare = TakeSpare(place);
      if (spare != nullptr) return Index(spare);
    }
  }
  return slot.freelist.Pop(this->links);
}

template <typename P>
[[gnu::always_inline]] inline void BasicPoolCore<P>::CountMiss(
    uint32_t here) noexcept {
  if (this->use_magazines && P::CountMiss(this->magazines)) return;
  Atomic<uint64_t>& misses = SlotOf(here).misses;
  if (here < this->cpus) {
    P::CountHere(misses);
  } else {
    // relaxed: a statistic
    misses.fetch_add(1, std::memory_order_relaxed);
  }
}

template <typename P>
void* BasicPoolCore<P>::PopSlow() noexcept {
  const uint32_t here = Here();
  if (this->use_spare && here < this->cpus) {
    void* const spare = TakeSpare(here);
    if (spare != nullptr) {
      CheckPop(*this, spare);
      return spare;
    }
  }
  return PopShared(here);
}

template <typename P>
[[gnu::noinline]] void* BasicPoolCore<P>::PopShared(uint32_t here) noexcept {
  // A4 <- R4, R11: who counted down had taken before.
  const uint64_t state = header().state.load(std::memory_order_acquire);
  if (retprobe::IsEmpty(state)) {
    CountMiss(here);
    return nullptr;
  }
  if (!IsOpenFor(state, here) && here < this->cpus && (state & kDying) == 0) {
    const uint32_t index = TakeShared(here, 1);
    if (index != kNoIndex) {
      void* const object = Object(index);
      CheckPop(*this, object);
      return object;
    }
  }
  return PopFurther(here, state);
}

template <typename P>
[[gnu::noinline]] void* BasicPoolCore<P>::PopFurther(uint32_t here,
                                                     uint64_t state) noexcept {
  uint32_t index = kNoIndex;
  if ((state & kDying) == 0) {
    if (IsOpenFor(state, here)) index = TakeOpen(here);
    if (index == kNoIndex) index = TakeAny(here, /*grow=*/true);
  }
  if (index == kNoIndex) {
    CountMiss(here);
    return nullptr;
  }
  void* const object = Object(index);
  CheckPop(*this, object);
  return object;
}

// In an open pool a magazine that was frozen serves its CPU as a stack of the
// slow path, until it is empty and thereby thawed.
template <typename P>
uint32_t BasicPoolCore<P>::TakeOpen(uint32_t here) noexcept {
  const Magazine& magazine = MagazineOf(here);
  // relaxed: TakeFrozen validates it
  if (magazine.front.load(std::memory_order_relaxed) < 0 ||
      magazine.count.load(std::memory_order_relaxed) < 0) {
    ConfirmFrozen(here);
    const uint32_t index = TakeFrozen(here);
    if (index != kNoIndex) return index;
    LiftBars(here);
  }
  return TakeShared(here, this->batch);
}

// kNoIndex means that at some moment since the call no object was idle: the
// state said so, or a search found every place empty, and nobody had pushed
// between its first look at a place and its end. (Unless pushes overtook it
// kMaxRounds times, or went into spares, which do not count; and a batch on its
// way into a magazine is not seen. Closed pools move no batches.)
template <typename P>
uint32_t BasicPoolCore<P>::TakeAny(uint32_t here, bool grow) noexcept {
  uint64_t pushes = 0;
  for (int round = 0; round < kMaxRounds; ++round) {
    // A4: as in PopShared.
    const uint64_t state = header().state.load(std::memory_order_acquire);
    if (retprobe::IsEmpty(state)) return kNoIndex;
    if ((state & kFresh) == 0 && IsSettled(here, state) && IsStillEmpty(here)) {
      NothingFound(here, state);
      return kNoIndex;
    }
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
bool BasicPoolCore<P>::IsStillEmpty(uint32_t here) noexcept {
  // A13 <- R13: our look is a later one.
  return SlotOf(here).empty_at.load(std::memory_order_acquire) == Pushes();
}

// `pushes`: those before its look at each place.
template <typename P>
uint32_t BasicPoolCore<P>::Search(uint32_t here, uint64_t state,
                                  uint64_t& pushes) noexcept {
  const Occupancy<P> occupied = occupancy();
  const bool open = IsOpenFor(state, here);
  // Places that may hold objects, as far as the state knew.
  uint64_t left = (state & (kDying - 1)) / kOnePlace;
  const auto look = [&](uint32_t place) {
    if (!occupied.MayHold(place)) return kNoIndex;
    --left;
    pushes += PushesTo(place);
    const uint32_t index = TakeShared(place, open ? this->batch : 1);
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

// How many objects were ever pushed to `place`; spares do not count. And 1, so
// that a sum also tells of a place that a search has left out: what was frozen
// in a magazine has not been pushed.
template <typename P>
uint64_t BasicPoolCore<P>::PushesTo(uint32_t place) const noexcept {
  const Slot<P>& slot = SlotOf(place);
  return 1 + slot.ring.pushes() + slot.freelist.pushes();
}

// How many objects were pushed to all places that may hold some, but `place`.
template <typename P>
uint64_t BasicPoolCore<P>::PushesToOthers(uint32_t place) noexcept {
  const Occupancy<P> occupied = occupancy();
  uint64_t pushes = 0;
  for (uint32_t i = 0; i < places(); ++i) {
    if (i != place && occupied.MayHold(i)) pushes += PushesTo(i);
  }
  return pushes;
}

// How many were pushed to all of them. Never less than before, and more after
// every push.
template <typename P>
uint64_t BasicPoolCore<P>::Pushes() noexcept {
  return PushesToOthers(places()) + Clearings();
}

// Clearing a place takes its pushes out of the sum, but adds more to it; so
// does settling, which makes objects known that were not pushed.
template <typename P>
uint64_t BasicPoolCore<P>::Clearings() noexcept {
  // relaxed: MayHold orders it
  return clearings.load(std::memory_order_relaxed) << 44;
}

// Takes objects of any node that exist but were never handed out; to grow, then
// makes new ones.
template <typename P>
uint32_t BasicPoolCore<P>::TakeFresh(uint32_t here, bool grow) noexcept {
  // A5 <- R5: the limit that came with the bit.
  uint64_t state = header().state.load(std::memory_order_acquire);
  const uint64_t generation = state & kGenerationMask;
  const uint32_t node = NodeOf(here);
  for (uint32_t i = 0; i < this->nodes; ++i) {
    const uint32_t index = TakeInitial(this->ranges[(node + i) % this->nodes]);
    if (index != kNoIndex) return index;
  }
  if (!grow) return kNoIndex;
  const uint32_t index = Make(node, this->growth_chunk);
  // relaxed: nothing is published; the next round validates it
  while (index == kNoIndex && (state & kFresh) != 0 &&
         (state & kGenerationMask) == generation &&
         !header().state.compare_exchange_weak(state, state & ~kFresh,
                                               std::memory_order_relaxed,
                                               std::memory_order_relaxed)) {
  }
  return index;
}

template <typename P>
uint32_t BasicPoolCore<P>::TakeInitial(ObjectRange<P>& range) noexcept {
  const uint64_t state = header().state.load(std::memory_order_relaxed);
  uint32_t count = IsOpen(state) && (state & kSole) == 0 ? this->batch : 1;
  const uint32_t first = Advance(range, range.initial_end, count);
  for (uint32_t i = 1; i < count; ++i) Cache(first + i);
  return first;
}

// Moves `range`'s fresh on, by up to `count`, which it sets to how many.
// Returns the first index.
template <typename P>
uint32_t BasicPoolCore<P>::Advance(ObjectRange<P>& range, uint32_t end,
                                   uint32_t& count) noexcept {
  // relaxed, all: hands out numbers. Objects made by Create were published with
  // the pool, others are made by whom they are handed to.
  uint32_t fresh = range.fresh.load(std::memory_order_relaxed);
  const uint32_t wanted = count;
  do {
    const uint32_t left = end - range.begin;
    count = fresh >= left ? 0 : left - fresh < wanted ? left - fresh : wanted;
    if (count == 0) return kNoIndex;
  } while (!range.fresh.compare_exchange_weak(fresh, fresh + count,
                                              std::memory_order_relaxed,
                                              std::memory_order_relaxed));
  return range.begin + fresh;
}

// A pop has found nothing.
template <typename P>
void BasicPoolCore<P>::NothingFound(uint32_t here, uint64_t state) noexcept {
  if ((state & kCalm) != 0) {
    // relaxed: a hint
    header().state.fetch_and(~kCalm, std::memory_order_relaxed);
  }
  Atomic<uint32_t>& futile = SlotOf(here).futile;
  // relaxed, both: a count that may be a little wrong
  const uint32_t count = futile.load(std::memory_order_relaxed) + 1;
  futile.store(count, std::memory_order_relaxed);
  if (count % this->futile_limit == 0) ClearEmptyPlaces();
}

template <typename P>
void BasicPoolCore<P>::ClearEmptyPlaces() noexcept {
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
  // S4 <-> S5: as in Freelist::IsEmpty.
  if (slot.spare.load(std::memory_order_seq_cst) != 0) return false;
  if (!slot.ring.IsEmpty()) return false;
  if (!this->use_magazines) return true;
  const Magazine& magazine = MagazineOf(place);
  // relaxed: whoever freezes marks the place afterwards
  return !IsFrozen(magazine.front.load(std::memory_order_relaxed)) &&
         !IsFrozen(magazine.count.load(std::memory_order_relaxed));
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_POPPING_H_
