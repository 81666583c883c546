// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_SIZING_H_
#define RETPROBE_OBJPOOL_SIZING_H_

#include "objpool/debug_checks.h"
#include "objpool/pool_core.h"

// How many objects there are: growing, shrinking, and the end.

namespace retprobe {

template <typename P>
void BasicPoolCore<P>::Create(uint32_t index) noexcept {
  BeginChange(*this, index);
  if (this->init != nullptr) this->init(Object(index), this->context);
  EndChange(*this, index);
  // R6 -> A6: the object is complete.
  this->links[index].store(kCreated, std::memory_order_release);
}

// Makes up to `count` objects, on `node` if there is room. Returns one, which
// is the caller's; the others are idle.
template <typename P>
uint32_t BasicPoolCore<P>::Make(uint32_t node, uint32_t count) noexcept {
  const uint32_t first = MakeOne(node);
  if (first == kNoIndex) return kNoIndex;
  for (uint32_t i = 1; i < count; ++i) {
    const uint32_t index = MakeOne(node);
    if (index == kNoIndex) break;
    Cache(index);
  }
  return first;
}

template <typename P>
uint32_t BasicPoolCore<P>::MakeOne(uint32_t node) noexcept {
  // relaxed, all: counts. A limit that is being raised is announced by the
  // state (A5)
  uint64_t old = population.load(std::memory_order_relaxed);
  do {
    if (Live(old) >= Limit(old)) return kNoIndex;
  } while (!population.compare_exchange_weak(
      old, old + 1, std::memory_order_relaxed, std::memory_order_relaxed));
  uint32_t index = retired.Pop(this->links);
  for (uint32_t i = 0; index == kNoIndex && i < this->nodes; ++i) {
    ObjectRange<P>& range = this->ranges[(node + i) % this->nodes];
    uint32_t one = 1;
    index = Advance(range, range.end, one);
    if (index != kNoIndex && index < range.initial_end) {
      GiveRoomBack();  // it existed already
      return index;
    }
  }
  if (index == kNoIndex) {
    GiveRoomBack();  // what is being retired has its index still
    return kNoIndex;
  }
  Create(index);
  // relaxed: statistic
  grown.fetch_add(1, std::memory_order_relaxed);
  return index;
}

// Makes idle objects until there are `count`. False: there was no room.
template <typename P>
bool BasicPoolCore<P>::Grow(uint32_t count) noexcept {
  // relaxed: a count
  while (Live(population.load(std::memory_order_relaxed)) < count) {
    const uint32_t index = MakeOne(NodeOf(Here()));
    if (index == kNoIndex) return false;
    Share(index);
  }
  return true;
}

// A pop that finds nothing may try to make an object, if there is room.
template <typename P>
void BasicPoolCore<P>::MayGrow() noexcept {
  // relaxed: who makes room after this look tells the state himself
  const uint64_t now = population.load(std::memory_order_relaxed);
  if (Live(now) >= Limit(now)) return;
  // relaxed: the CAS validates it
  uint64_t state = header().state.load(std::memory_order_relaxed);
  // R5 -> A5: publishes the room. relaxed on failure: the next round
  // validates it
  while (!header().state.compare_exchange_weak(
      state, (state | kFresh) + kOneGeneration, std::memory_order_acq_rel,
      std::memory_order_relaxed)) {
  }
}

// Whether the object just pushed is to be retired; then it is counted as gone,
// unless the pool is dying.
template <typename P>
bool BasicPoolCore<P>::IsOneTooMany(uint64_t state) noexcept {
  if ((state & kDying) != 0 || CountDownTo(0)) return true;
  // relaxed: nothing is published. Should Resize have set it anew just now, the
  // generation has changed.
  header().state.compare_exchange_strong(state, state & ~kShrinking,
                                         std::memory_order_relaxed,
                                         std::memory_order_relaxed);
  return false;
}

// Counts one object as gone, which is the caller's, if there are more than
// `least`, or, where that is 0, than may be.
template <typename P>
bool BasicPoolCore<P>::CountDownTo(uint32_t least) noexcept {
  // relaxed: a count, and a limit that A12 (PushSlow) brought
  uint64_t old = population.load(std::memory_order_relaxed);
  do {
    // relaxed, both: a count
    if (Live(old) <= (least != 0 ? least : Limit(old))) return false;
  } while (!population.compare_exchange_weak(
      old, old - 1, std::memory_order_relaxed, std::memory_order_relaxed));
  return true;
}

// Object `index`, which is the caller's, ceases to exist. It was counted as
// gone already, or will be now, if the pool is dying; then the pool may be gone
// on return.
template <typename P>
void BasicPoolCore<P>::Retire(uint32_t index) noexcept {
  // relaxed: who visits objects meanwhile either sees it or does not. First of
  // all, for a child forked off meanwhile (ObjPool::Reclaim).
  this->links[index].store(kRetired, std::memory_order_relaxed);
  BeginChange(*this, index);
  if (this->fini != nullptr) this->fini(Object(index), this->context);
  EndChange(*this, index);
  // relaxed: a retired object is nobody's
  if ((header().state.load(std::memory_order_relaxed) & kDying) != 0) {
    CountRetired(this->release, header());
    return;
  }
  retired.Push(this->links, index, kRetired);
  MayGrow();
}

template <typename P>
void BasicPoolCore<P>::CountRetired(void (*release)(Header&),
                                    Header& pool) noexcept {
  // R7 -> A7: what was done to the object, for who releases the pool. From
  // here on it may be gone.
  // A7 <- R7: everything is done with the objects.
  if (population.fetch_sub(1, std::memory_order_acq_rel) == (kFini | 1)) {
    release(pool);
  }
}

// An object that its user says will not come back.
template <typename P>
void BasicPoolCore<P>::Drop(uint32_t index) noexcept {
  // relaxed: see Retire
  const bool dying =
      (header().state.load(std::memory_order_relaxed) & kDying) != 0;
  Retire(index);
  if (!dying) GiveRoomBack();  // only now: there must be an index to find
}

template <typename P>
void BasicPoolCore<P>::GiveRoomBack() noexcept {
  // relaxed: a count
  population.fetch_sub(1, std::memory_order_relaxed);
  MayGrow();
}

// Retires idle objects until there are `count`, or none is idle.
template <typename P>
void BasicPoolCore<P>::RetireIdle(uint32_t count) noexcept {
  uint32_t index;
  // relaxed: a count
  while (Live(population.load(std::memory_order_relaxed)) > count &&
         (index = TakeAny(Here(), /*grow=*/false)) != kNoIndex) {
    if (!CountDownTo(count)) {
      Share(index);
      return;
    }
    Retire(index);
  }
}

// False when others drop objects at the same time.
template <typename P>
bool BasicPoolCore<P>::Resize(uint64_t count, uint64_t most) noexcept {
  // relaxed, all: R5 in MayGrow and R12 in Close publish it
  uint64_t old = population.load(std::memory_order_relaxed);
  while (!population.compare_exchange_weak(old, Population(Live(old), most),
                                           std::memory_order_relaxed,
                                           std::memory_order_relaxed)) {
  }
  MayGrow();
  if (Live(old) <= count) return Grow(static_cast<uint32_t>(count));
  // What magazines hold may be too many, too: objects come the slow way now.
  Close(kShrinking);
  RetireIdle(static_cast<uint32_t>(count));
  return true;
}

template <typename P>
void BasicPoolCore<P>::Fini() noexcept {
  // relaxed, all: pushes that act on it begin later
  uint64_t old = population.load(std::memory_order_relaxed);
  while (!population.compare_exchange_weak(
      old, kFini | Population(Live(old) + 1, 0), std::memory_order_relaxed,
      std::memory_order_relaxed)) {
  }
  Close(kDying);
  const uint32_t here = Here();
  uint32_t index;
  while ((index = TakeAny(here, /*grow=*/false)) != kNoIndex) Retire(index);
  CountRetired(this->release, header());
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_SIZING_H_
