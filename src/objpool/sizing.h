// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_SIZING_H_
#define RETPROBE_OBJPOOL_SIZING_H_

#include "objpool/pool_core.h"

// How many objects there are: growing, shrinking, and the end.

namespace retprobe {

template <typename P>
void BasicPoolCore<P>::Create(uint32_t index) noexcept {
  if (this->init != nullptr) this->init(Object(index), this->context);
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
  // relaxed: a count
  uint64_t count = live.load(std::memory_order_relaxed);
  do {
    // relaxed: a limit that is being raised is announced by the state (A5)
    if (count >= limit.load(std::memory_order_relaxed)) return kNoIndex;
    // relaxed: a count
  } while (!live.compare_exchange_weak(
      count, count + 1, std::memory_order_relaxed, std::memory_order_relaxed));
  uint32_t index = retired.Pop(this->links);
  for (uint32_t i = 0; index == kNoIndex && i < this->nodes; ++i) {
    ObjectRange<P>& range = this->ranges[(node + i) % this->nodes];
    uint32_t one = 1;
    index = Advance(range, range.end, one);
    if (index != kNoIndex && index < range.initial_end) {
      // relaxed: a count. It existed already.
      live.fetch_sub(1, std::memory_order_relaxed);
      return index;
    }
  }
  if (index == kNoIndex) {
    live.fetch_sub(1, std::memory_order_relaxed);  // relaxed: a count
    return kNoIndex;
  }
  Create(index);
  // relaxed: statistic
  grown.fetch_add(1, std::memory_order_relaxed);
  return index;
}

template <typename P>
uint32_t BasicPoolCore<P>::Grow(uint32_t count) noexcept {
  uint32_t made = 0;
  for (; made < count; ++made) {
    const uint32_t index = MakeOne(NodeOf(Here()));
    if (index == kNoIndex) break;
    Share(index);
  }
  return made;
}

template <typename P>
void BasicPoolCore<P>::MayGrow() noexcept {
  // relaxed: the CAS validates it
  uint64_t state = header().state.load(std::memory_order_relaxed);
  // R5 -> A5: publishes the new limit. relaxed on failure: the next round
  // validates it
  while (!header().state.compare_exchange_weak(
      state, (state | kFresh) + kOneGeneration, std::memory_order_acq_rel,
      std::memory_order_relaxed)) {
  }
}

// Whether the object just pushed is to be retired; then it is counted as gone.
template <typename P>
bool BasicPoolCore<P>::IsOneTooMany(uint64_t state) noexcept {
  if ((state & kDying) != 0) return true;
  // A12 <- R12: the surplus that came with the bit.
  uint64_t count = surplus.load(std::memory_order_acquire);
  while (count != 0) {
    // relaxed, both: a count
    if (surplus.compare_exchange_weak(count, count - 1,
                                      std::memory_order_relaxed,
                                      std::memory_order_relaxed)) {
      return true;
    }
  }
  // relaxed: nothing is published. Should Resize have set it anew just now, the
  // generation has changed.
  header().state.compare_exchange_strong(state, state & ~kShrinking,
                                         std::memory_order_relaxed,
                                         std::memory_order_relaxed);
  return false;
}

template <typename P>
uint32_t BasicPoolCore<P>::RetireIdle() noexcept {
  uint32_t count = 0;
  while (IsOneTooMany(kShrinking)) {
    const uint32_t index = TakeAny(Here(), /*grow=*/false);
    if (index == kNoIndex) {
      surplus.fetch_add(1, std::memory_order_relaxed);  // relaxed: a count
      break;
    }
    Retire(index);
    ++count;
  }
  return count;
}

template <typename P>
void BasicPoolCore<P>::Retire(uint32_t index) noexcept {
  if (this->fini != nullptr) this->fini(Object(index), this->context);
  // relaxed: a retired object is nobody's
  const bool dying =
      (header().state.load(std::memory_order_relaxed) & kDying) != 0;
  if (!dying) {
    retired.Push(this->links, index, kRetired);
    live.fetch_sub(1, std::memory_order_relaxed);  // relaxed: a count
    return;
  }
  // R7 -> A7: what was done to the object, for who releases the pool. From
  // here on it may be gone.
  auto* const release = this->release;
  Header& pool = header();
  if (live.fetch_sub(1, std::memory_order_acq_rel) == kFini + 1) release(pool);
}

// An object that its user says will not come back.
template <typename P>
void BasicPoolCore<P>::Drop(uint32_t index) noexcept {
  // relaxed: see Retire
  const bool dying =
      (header().state.load(std::memory_order_relaxed) & kDying) != 0;
  Retire(index);
  if (!dying) MayGrow();
}

// False when others change the number of objects at the same time.
template <typename P>
bool BasicPoolCore<P>::Resize(uint64_t count, uint64_t most) noexcept {
  // relaxed, all: R5 in MayGrow and R12 in Close publish them; and a count
  limit.store(most, std::memory_order_relaxed);
  surplus.store(0, std::memory_order_relaxed);
  const uint64_t now = live.load(std::memory_order_relaxed);
  if (now <= count) {
    MayGrow();
    return Grow(static_cast<uint32_t>(count - now)) == count - now;
  }
  surplus.store(now - count, std::memory_order_relaxed);
  // What magazines hold may be too many, too: objects come the slow way now.
  Close(kShrinking);
  RetireIdle();
  MayGrow();
  return true;
}

template <typename P>
void BasicPoolCore<P>::Fini() noexcept {
  // relaxed, all: pushes that act on it begin later
  limit.store(0, std::memory_order_relaxed);
  live.fetch_add(kFini + 1, std::memory_order_relaxed);
  Close(kDying);
  const uint32_t here = Here();
  uint32_t index;
  while ((index = TakeAny(here, /*grow=*/false)) != kNoIndex) Retire(index);
  auto* const release = this->release;
  Header& pool = header();
  // A7 <- R7: everything is done with the objects.
  if (live.fetch_sub(1, std::memory_order_acq_rel) == kFini + 1) release(pool);
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_SIZING_H_
