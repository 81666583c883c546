// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_PUSHING_H_
#define RETPROBE_OBJPOOL_PUSHING_H_

#include "objpool/debug_checks.h"
#include "objpool/pool_core.h"

// What a push does when this CPU's magazine is full or the pool is closed: the
// CPU's ring, or its spare, else its freelist, which always has room. Objects
// of another node go home to that node's depot.

namespace retprobe {

// How often a push tries anew that was preempted or moved to another CPU.
inline constexpr int kMaxAttempts = 8;

template <typename P>
[[gnu::always_inline]] inline void BasicPoolCore<P>::PutInto(
    uint32_t place, uint32_t index) noexcept {
  Slot<P>& slot = SlotOf(place);
  // relaxed: a guess
  if (this->use_spare && place < this->cpus &&
      slot.spare.load(std::memory_order_relaxed) == 0) {
    // R10 -> A10: publishes the object. Should somebody have been faster, his
    // goes on.
    // S5 <-> S4: comes before the look at the flag (occupancy.h).
    const uint32_t old =
        slot.spare.exchange(index + 1, std::memory_order_seq_cst);
    if (old != 0) slot.freelist.Push(this->links, old - 1);
  } else {
    slot.freelist.Push(this->links, index);
  }
  occupancy().Mark(place);
}

// Told how many objects were pushed to some place; calls Ease now and then.
template <typename P>
[[gnu::always_inline]] inline void BasicPoolCore<P>::EaseAt(
    uint64_t pushes) noexcept {
  if ((pushes & (this->calm_pushes - 1)) == 0 && this->use_magazines) Ease();
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
    EaseAt(slot.ring.pushes());
  }
  return result;
}

template <typename P>
void BasicPoolCore<P>::PushSlow(void* object) noexcept {
  CheckPush(*this, object);
  // A12 <- R12: the limit that came with the shrinking.
  const uint64_t state = header().state.load(std::memory_order_acquire);
  const uint32_t index = Index(object);
  if ((state & (kDying | kShrinking)) != 0 && IsOneTooMany(state)) {
    Retire(index);
    return;
  }
  // What most pushes come to, without a call.
  const uint32_t here = Here();
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
      EaseAt(SlotOf(this->cpus + home).freelist.pushes());
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
  EaseAt(SlotOf(here).freelist.pushes());
}

// The node whose memory object `index` lies in.
template <typename P>
uint32_t BasicPoolCore<P>::HomeOf(uint32_t index) const noexcept {
  uint32_t node = 0;
  while (node + 1 < this->nodes && index >= this->ranges[node].end) ++node;
  return node;
}

// Told now and then that objects are pushed; finds the end of a closed pool.
template <typename P>
[[gnu::noinline]] void BasicPoolCore<P>::Ease() noexcept {
  // relaxed: the CAS validates it
  uint64_t state = header().state.load(std::memory_order_relaxed);
  if (IsOpen(state) || (state & (kDying | kShrinking)) != 0) return;
  if ((state & kCalm) == 0) {
    // relaxed: a hint
    header().state.fetch_or(kCalm, std::memory_order_relaxed);
    return;
  }
  // Unsettled before the first sequence can see the gate open. relaxed, both:
  // nothing is published, and the next one who is calm tries again
  header().state.compare_exchange_strong(
      state, ((state & ~kCalm) | this->cpus | kUnsettled) + kOneGeneration,
      std::memory_order_relaxed, std::memory_order_relaxed);
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_PUSHING_H_
