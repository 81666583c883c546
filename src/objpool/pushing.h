// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_PUSHING_H_
#define RETPROBE_OBJPOOL_PUSHING_H_

#include "objpool/debug_checks.h"
#include "objpool/opening.h"
#include "objpool/pool_core.h"

// What a push does when this CPU's magazine is full or the pool is closed: the
// CPU's ring, or its spares, else its freelist, which always has room. Objects
// of another node go home to that node's depot.

namespace retprobe {

// How often a push tries anew that was preempted or moved to another CPU.
inline constexpr int kMaxAttempts = 8;

// Told how many objects were pushed to `here`, a place; calls Ease now and
// then.
template <typename P>
[[gnu::always_inline]] inline void BasicPoolCore<P>::EaseAt(
    uint32_t here, uint64_t pushes) noexcept {
  if ((pushes & (this->calm_pushes - 1)) == 0 && this->closes) Ease(here);
}

template <typename P>
[[gnu::always_inline]] inline void BasicPoolCore<P>::PutInto(
    uint32_t place, uint32_t index) noexcept {
  if (this->use_spares && place < this->cpus && PutSpare(place, index)) {
    return;
  }
  PutIntoList(place, index);
}

// Makes an object a spare of CPU `place`. False: not now, it has enough.
template <typename P>
[[gnu::always_inline]] inline bool BasicPoolCore<P>::PutSpare(
    uint32_t place, uint32_t index) noexcept {
  if (!SlotOf(place).spares.Push(index)) return false;
  occupancy().Mark(place);
  return true;
}

template <typename P>
[[gnu::noinline]] void BasicPoolCore<P>::PutIntoList(uint32_t place,
                                                     uint32_t index) noexcept {
  Freelist<P>& list = SlotOf(place).freelist;
  const uint64_t pushes = list.Push(this->links, index);
  occupancy().Mark(place);
  EaseAt(place, pushes);
}

// Puts an object into the ring of CPU `here`, if this thread is on it and there
// is room.
template <typename P>
[[gnu::always_inline]] inline arch::RseqResult BasicPoolCore<P>::PutIntoRing(
    uint32_t here, uint32_t index) noexcept {
  Slot<P>& slot = SlotOf(here);
  const arch::RseqResult result =
      slot.ring.Push(here, EntriesOf(here), ring_mask(), index);
  if (result == arch::RseqResult::kDone) {
    occupancy().Mark(here);
    EaseAt(here, slot.ring.pushes());
  }
  return result;
}

template <typename P>
[[gnu::always_inline]] inline void BasicPoolCore<P>::PushSlow(
    Header& header, void* object) noexcept {
  BasicPoolCore& core = Of(header);
  uint32_t here;
  if (P::CpuAtHand(here) && here < header.lean_cpus) {
    // A12: as in PushUnleaned.
    const uint64_t state = header.state.load(std::memory_order_acquire);
    if ((state & (kDying | kShrinking)) == 0) {
      return core.PushLean(header.lean[here], core.Index(object), here);
    }
  }
  core.PushUnleaned(object);
}

// As PopLean.
template <typename P>
[[gnu::always_inline]] inline void BasicPoolCore<P>::PushLean(
    Slot<P>& slot, uint32_t index, uint32_t here) noexcept {
  if (!slot.spares.Push(index)) {
    PushListed(index, here);
  } else if (!occupancy().IsMarked(here)) {
    MarkPlace(here);
  }
}

template <typename P>
void BasicPoolCore<P>::PushListed(uint32_t index, uint32_t here) noexcept {
  if (this->push_home) return Share(index);
  const uint64_t pushes = SlotOf(here).freelist.Push(this->links, index);
  if (!occupancy().IsMarked(here)) return MarkPlace(here);
  EaseAt(here, pushes);
}

template <typename P>
void BasicPoolCore<P>::MarkPlace(uint32_t place) noexcept {
  occupancy().Mark(place);
}

template <typename P>
void BasicPoolCore<P>::PushUnleaned(void* object) noexcept {
  CheckPush(*this, object);
  // A12 <- R12: the limit that came with the shrinking.
  const uint64_t state = header().state.load(std::memory_order_acquire);
  const uint32_t here = Here();
  if (this->use_spares && (state & (kDying | kShrinking)) == 0 &&
      here < this->cpus && PutSpare(here, Index(object))) {
    return;
  }
  PushShared(object, here, state);
}

template <typename P>
[[gnu::noinline]] void BasicPoolCore<P>::PushShared(void* object, uint32_t here,
                                                    uint64_t state) noexcept {
  const uint32_t index = Index(object);
  if ((state & (kDying | kShrinking)) != 0 && IsOneTooMany(state)) {
    Retire(index);
    return;
  }
  if (IsOpenFor(state, here)) LiftBars(here);
  // What most pushes come to, without a call.
  if (here < this->cpus && !this->push_home) {
    if (!this->use_rseq) {
      PutInto(here, index);
      return;
    }
    if (PutIntoRing(here, index) == arch::RseqResult::kDone) return;
  }
  Share(index);
}

// Puts an object away where this CPU finds it soonest.
template <typename P>
void BasicPoolCore<P>::Cache(uint32_t index) noexcept {
  if (!P::MagazinePush(this->magazines, Object(index))) Share(index);
}

// Puts an object away where all CPUs can reach it. Always succeeds.
template <typename P>
[[gnu::noinline]] void BasicPoolCore<P>::Share(uint32_t index) noexcept {
  uint32_t here = Here();
  if (this->push_home) {
    const uint32_t home = HomeOf(index);
    if (home != NodeOf(here)) {
      PutInto(this->cpus + home, index);
      return;
    }
  }
  for (int attempt = 0;
       this->use_rseq && here < this->cpus && attempt < kMaxAttempts;
       ++attempt) {
    const arch::RseqResult result = PutIntoRing(here, index);
    if (result == arch::RseqResult::kDone) return;
    if (result == arch::RseqResult::kFull) break;
    here = Here();
  }
  PutInto(here, index);
}

// The node whose memory object `index` lies in.
template <typename P>
uint32_t BasicPoolCore<P>::HomeOf(uint32_t index) const noexcept {
  uint32_t node = 0;
  while (node + 1 < this->nodes && index >= this->ranges[node].end) ++node;
  return node;
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_PUSHING_H_
