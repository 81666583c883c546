// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_POPPING_H_
#define RETPROBE_OBJPOOL_POPPING_H_

#include "objpool/debug_checks.h"
#include "objpool/pool_core.h"
#include "objpool/searching.h"

// What a pop does when this CPU's magazine has nothing: the own slot, then
// everything else (searching.h); and how it takes from where objects wait.

namespace retprobe {

// A place for threads of a CPU that is not known: the first depot.
template <typename P>
uint32_t BasicPoolCore<P>::Here() const noexcept {
  const uint32_t cpu = P::Cpu(this->use_rseq);
  return cpu < this->cpus ? cpu : this->cpus;
}

// Takes one object from where all can reach it, and up to `most` - 1 more to
// where this CPU finds them soonest.
template <typename P>
[[gnu::always_inline]] inline uint32_t BasicPoolCore<P>::TakeShared(
    uint32_t place, uint32_t most) noexcept {
  Slot<P>& slot = SlotOf(place);
  if (place < this->cpus && this->use_rseq) {
    uint32_t taken[kMaxBatch];
    const uint32_t count = slot.ring.Pop(EntriesOf(place), ring_mask(), taken,
                                         most < kMaxBatch ? most : kMaxBatch);
    for (uint32_t i = 1; i < count; ++i) Cache(taken[i]);
    if (count != 0) return taken[0];
  }
  if (!this->use_spares) return slot.freelist.Pop(this->links);
  return TakeSpares(place, most);
}

// For pools with spares: many of those are in one line, many of a list in many.
template <typename P>
uint32_t BasicPoolCore<P>::TakeSpares(uint32_t place, uint32_t most) noexcept {
  Slot<P>& slot = SlotOf(place);
  uint32_t taken[kMaxBatch];
  if (most > kMaxBatch) most = kMaxBatch;
  uint32_t count = place < this->cpus ? slot.spares.PopAny(taken, most) : 0;
  if (count == 0) count = slot.freelist.Pop(this->links, taken, most);
  if (count == 0) return kNoIndex;
  for (uint32_t i = count - 1; i > 0; --i) Share(taken[i]);
  return taken[0];
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

// What most pops from spares come to is in functions that call others last if
// at all, and so save no registers.
template <typename P>
[[gnu::always_inline]] inline void* BasicPoolCore<P>::PopSlow(
    Header& header) noexcept {
  uint32_t here;
  if (!P::CpuAtHand(here) || here >= header.lean_cpus) {
    return Of(header).PopUnleaned();
  }
  Slot<P>& slot = header.lean[here];
  // A4: as in PopShared.
  if (retprobe::IsEmpty(header.state.load(std::memory_order_acquire))) {
    P::CountHere(slot.misses);
    return nullptr;
  }
  uint32_t index;
  if (!slot.spares.Pop(index)) return Of(header).PopListed(here);
  return Of(header).Object(index);
}

template <typename P>
void* BasicPoolCore<P>::PopUnleaned() noexcept {
  return PopShared(Here());
}

template <typename P>
void* BasicPoolCore<P>::PopListed(uint32_t here) noexcept {
  const uint32_t index = SlotOf(here).freelist.Pop(this->links);
  return index != kNoIndex ? Object(index) : PopNothing(here);
}

// Requires: there is nothing to take at `here`.
template <typename P>
void* BasicPoolCore<P>::PopNothing(uint32_t here) noexcept {
  // A4: as in PopShared.
  const uint64_t state = header().state.load(std::memory_order_acquire);
  Slot<P>& slot = SlotOf(here);
  if ((state & (kFresh | kUnsettled | kCalm)) != 0 || !IsStillEmpty(here)) {
    return PopFurther(here, state);
  }
  if (IsFutile(slot)) return ClearAndMiss(here);
  P::CountHere(slot.misses);
  return nullptr;
}

template <typename P>
void* BasicPoolCore<P>::ClearAndMiss(uint32_t here) noexcept {
  ClearEmptyPlaces();
  CountMiss(here);
  return nullptr;
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
    if (index != kNoIndex) return Found(index);
    if ((state & (kFresh | kUnsettled)) == 0 && IsStillEmpty(here)) {
      NothingFound(here, state);
      CountMiss(here);
      return nullptr;
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
    // Then who calls has just asked IsStillEmpty; but for a CPU unknown, which
    // need not ask.
    const bool asked = (state & (kFresh | kUnsettled | kCalm)) == 0;
    if (index == kNoIndex) index = TakeAny(here, /*grow=*/true, asked);
  }
  if (index == kNoIndex) {
    CountMiss(here);
    return nullptr;
  }
  return Found(index);
}

template <typename P>
[[gnu::always_inline]] inline void* BasicPoolCore<P>::Found(
    uint32_t index) noexcept {
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
  uint32_t count =
      MovesBatches(state) && (state & kSole) == 0 ? this->batch : 1;
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

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_POPPING_H_
