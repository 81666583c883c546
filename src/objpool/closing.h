// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_CLOSING_H_
#define RETPROBE_OBJPOOL_CLOSING_H_

#include "objpool/opening.h"
#include "objpool/pool_core.h"

// How objects leave a magazine other than through its own CPU's sequences.
//
// Any thread freezes a word (a magazine's count or front): a compare-and-swap
// makes it negative, so that sequences which begin after it keep off. One that
// began before may still commit, over the frozen word. After an rseq membarrier
// it has or never will; a frozen word that is still the same is then confirmed,
// and its objects are anyone's who changes the word by compare-and-swap. Who
// takes the last leaves 0 behind, which thaws it.
//
// Each frozen word is unique (kFreezeShift), so any number of threads, and
// signal handlers in their middle, may do any of this at once; one that stops
// for good leaves nothing locked.
//
// A pop that found nothing anywhere closes the pool: it shuts the gate, waits
// for whoever is still inside, freezes and confirms all magazines, and then
// tells the state that it is settled: from then on flags and counts know of
// every object (occupancy.h).

namespace retprobe {

// Returns the word: frozen, or 0.
template <typename P>
int64_t BasicPoolCore<P>::Freeze(Atomic<int64_t>& word, bool front) noexcept {
  // relaxed: the CAS validates it
  int64_t old = word.load(std::memory_order_relaxed);
  while (old > 0) {
    // relaxed: only has to be another number each time
    const uint64_t number = freezes.fetch_add(1, std::memory_order_relaxed);
    const auto value = static_cast<uint64_t>(old);
    const auto frozen = static_cast<int64_t>(
        kFrozen | ((number & kFreezesMask) << kFreezeShift) |
        (front ? Index(reinterpret_cast<void*>(value)) : value));
    // relaxed: the membarrier that must follow orders everything
    if (word.compare_exchange_weak(old, frozen, std::memory_order_relaxed,
                                   std::memory_order_relaxed)) {
      return frozen;
    }
  }
  return old;
}

// Returns how many words, 0..2, are now frozen.
template <typename P>
int BasicPoolCore<P>::FreezeMagazine(uint32_t cpu,
                                     FrozenWord* frozen) noexcept {
  Magazine& magazine = MagazineOf(cpu);
  int found = 0;
  const int64_t front = Freeze(magazine.front, true);
  if (IsFrozen(front)) frozen[found++] = {&magazine.front, front, cpu};
  const int64_t count = Freeze(magazine.count, false);
  if (IsFrozen(count)) frozen[found++] = {&magazine.count, count, cpu};
  return found;
}

// Requires: an rseq membarrier since the word was read.
template <typename P>
void BasicPoolCore<P>::Confirm(const FrozenWord& frozen) noexcept {
  if (!IsConfirmed(frozen.frozen)) {
    int64_t word = frozen.frozen;
    const auto confirmed =
        static_cast<int64_t>(static_cast<uint64_t>(word) | kConfirmed);
    // relaxed on failure: somebody else's business by now
    // R8 -> A8: who sees the bit need not have made the membarrier.
    if (!frozen.word->compare_exchange_strong(word, confirmed,
                                              std::memory_order_seq_cst,
                                              std::memory_order_relaxed) &&
        !IsConfirmed(word)) {
      return;
    }
    // Who has confirmed it instead may be asleep and not have marked the place,
    // while others have taken a part.
  }
  occupancy().Mark(frozen.cpu);
}

// Takes an object out of a magazine that is frozen and confirmed. Depots have
// none, and in a pool without magazines nobody has.
template <typename P>
uint32_t BasicPoolCore<P>::TakeFrozen(uint32_t cpu) noexcept {
  if (cpu >= header().cpus) return kNoIndex;
  Magazine& magazine = MagazineOf(cpu);
  // A8 <- R8: as the membarrier left the magazine.
  int64_t word = magazine.front.load(std::memory_order_acquire);
  while (IsConfirmed(word)) {
    // A8: on failure, too. R9 as below.
    if (magazine.front.compare_exchange_weak(word, 0, std::memory_order_acq_rel,
                                             std::memory_order_acquire)) {
      return static_cast<uint32_t>(FrozenValue(word));
    }
  }
  word = magazine.count.load(std::memory_order_acquire);  // A8 <- R8
  while (IsConfirmed(word)) {
    const int64_t objects = FrozenValue(word);
    // relaxed: nobody writes it while the count stays as it is (the CAS)
    const uint64_t object =
        magazine.objects[objects - 1].load(std::memory_order_relaxed);
    const int64_t left = objects == 1 ? 0 : word - 1;
    // R9 -> the next sequence on the magazine's CPU, which stores over what we
    // have read (a plain load, an acquire on x86); A8 on failure.
    if (magazine.count.compare_exchange_weak(
            word, left, std::memory_order_acq_rel, std::memory_order_acquire)) {
      return Index(reinterpret_cast<void*>(object));
    }
  }
  return kNoIndex;
}

// Confirms what somebody froze in CPU `cpu`'s magazine and then left.
template <typename P>
void BasicPoolCore<P>::ConfirmFrozen(uint32_t cpu) noexcept {
  Magazine& magazine = MagazineOf(cpu);
  for (Atomic<int64_t>* word : {&magazine.front, &magazine.count}) {
    // relaxed: the CAS validates it
    const int64_t frozen = word->load(std::memory_order_relaxed);
    if (!IsFrozen(frozen) || IsConfirmed(frozen)) continue;
    if (P::Barrier()) Confirm({word, frozen, cpu});
  }
}

// Shuts the gate; sets `bits` of the state.
template <typename P>
void BasicPoolCore<P>::Close(uint64_t bits) noexcept {
  // relaxed: the CAS validates it
  uint64_t state = header().state.load(std::memory_order_relaxed);
  // R12 -> A12: what `bits` announce. relaxed on failure: the next round
  // validates it
  while (!header().state.compare_exchange_weak(
      state, ((state & ~(kGateMask | kCalm | kSole)) | bits) + kOneGeneration,
      std::memory_order_release, std::memory_order_relaxed)) {
  }
}

// Makes all objects in magazines known to flags and counts, and the state say
// so. False when that cannot be done: the kernel forbids the barrier.
template <typename P>
bool BasicPoolCore<P>::Settle() noexcept {
  Atomic<uint64_t>& word = header().state;
  // relaxed: the CASes validate it
  uint64_t state = word.load(std::memory_order_relaxed);
  if (IsOpen(state)) {
    // Next time the pool is to open for one CPU later. relaxed, both: a hint
    const uint32_t patience = lone_patience.load(std::memory_order_relaxed);
    if ((state & kSole) != 0 && patience < kMaxLonePatience) {
      lone_patience.store(2 * patience + 1, std::memory_order_relaxed);
    }
    Close(0);
    state = word.load(std::memory_order_relaxed);
  }
  if (IsOpen(state) || (state & kUnsettled) == 0) return true;
  const uint64_t generation = state & kGenerationMask;
  if (this->use_spares) {
    // No batch is moved from now on. relaxed: who has begun one goes on
    word.fetch_and(~(kUnsettled | kCalm), std::memory_order_relaxed);
    return true;
  }
  // No sequence is left that saw the gate open, and while the generation stays
  // none begins: what magazines hold is there to be seen.
  if (!P::Barrier()) return false;
  // relaxed: statistic
  drains.fetch_add(1, std::memory_order_relaxed);
  constexpr int kAtOnce = 32;
  FrozenWord frozen[kAtOnce];
  for (uint32_t cpu = 0; cpu < this->cpus;) {
    int found = 0;
    while (cpu < this->cpus && found + 2 <= kAtOnce) {
      found += FreezeMagazine(cpu++, &frozen[found]);
    }
    if (found == 0) continue;
    if (!P::Barrier()) return false;
    for (int i = 0; i < found; ++i) Confirm(frozen[i]);
  }
  // What magazines held was not pushed to where it now is. relaxed: R11
  clearings.fetch_add(1, std::memory_order_relaxed);
  while ((state & kGenerationMask) == generation && (state & kUnsettled) != 0) {
    // R11 -> A4: who reads the state without the bit finds the flags set.
    // relaxed on failure: the next round validates it
    if (word.compare_exchange_weak(state, state & ~kUnsettled,
                                   std::memory_order_acq_rel,
                                   std::memory_order_relaxed)) {
      break;
    }
  }
  return true;
}

template <typename P>
uint32_t BasicPoolCore<P>::DrainCpu(uint32_t from) noexcept {
  if (from >= this->cpus) return 0;
  const uint32_t node = NodeOf(from);
  uint32_t moved = 0;
  const auto move = [&](uint32_t index) {
    PutInto(this->cpus + (this->push_home ? HomeOf(index) : node), index);
    ++moved;
  };
  uint32_t index;
  if (this->use_magazines) {
    FrozenWord frozen[2];
    const int found = FreezeMagazine(from, frozen);
    if (found != 0 && P::Barrier()) {
      for (int i = 0; i < found; ++i) Confirm(frozen[i]);
    }
    while ((index = TakeFrozen(from)) != kNoIndex) move(index);
  }
  // Others may go on pushing: not for ever.
  while (moved < this->max_objects &&
         (index = TakeShared(from, 1)) != kNoIndex) {
    move(index);
  }
  return moved;
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_CLOSING_H_
