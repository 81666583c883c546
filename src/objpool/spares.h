// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_SPARES_H_
#define RETPROBE_OBJPOOL_SPARES_H_

#include <atomic>
#include <cstdint>

#include "objpool/freelist.h"

namespace retprobe {

// Pools of more objects do without.
inline constexpr uint32_t kMaxSpares = uint32_t{1} << 21;

// A CPU's first few objects in a pool without rseq, each in a word of its own.
// A list's top is changed by every push and pop, and each must wait until the
// one before is done; here a push and a pop in turn, and several in a row,
// change different words. Anyone pushes and pops.
//
// Every push counts its word up, as in a freelist, so that searches see all
// pushes. Which word is next are two positions that nobody synchronizes: a
// wrong one costs an object more on the list, or a look more, and is moved on
// by who notices. All zero is empty.
template <typename P>
class Spares {
 public:
  template <typename T>
  using Atomic = typename P::template Atomic<T>;

  // False: there is no room where the next would go.
  bool Push(uint32_t index) noexcept {
    // relaxed, all: positions are guesses, and the CAS validates the word
    const uint32_t at = end_.load(std::memory_order_relaxed);
    const uint32_t next = Next(at);
    // One stays empty: a word just popped from is not yet ours again.
    if (next == begin_.load(std::memory_order_relaxed) && !MoveOn(next)) {
      return false;
    }
    uint64_t word = words_[at].load(std::memory_order_relaxed);
    const uint64_t full = word + kOnePush + index + 1;
    // R10 -> A10: publishes the object.
    // S5 <-> S4: comes before the pusher's look at the flag (occupancy.h).
    // relaxed on failure: the object goes elsewhere
    const bool done = !Holds(word) && words_[at].compare_exchange_strong(
                                          word, full, std::memory_order_seq_cst,
                                          std::memory_order_relaxed);
    // Only now: a lock waits for the stores before it.
    end_.store(next, std::memory_order_relaxed);
    return done;
  }

  // Takes the object that is next. False: there is none.
  bool Pop(uint32_t& index) noexcept {
    // relaxed, all: guesses
    const uint32_t at = begin_.load(std::memory_order_relaxed);
    if (at == end_.load(std::memory_order_relaxed)) return false;
    const bool done = Take(words_[at], index);
    begin_.store(Next(at), std::memory_order_relaxed);
    return done;
  }

  // Takes up to `most` objects, at least 1. Returns how many; 0: each word was
  // seen empty.
  uint32_t PopAny(uint32_t* indices, uint32_t most) noexcept {
    uint32_t count = 0;
    for (Atomic<uint64_t>& word : words_) {
      if (count < most && Take(word, indices[count])) ++count;
    }
    return count;
  }

  bool IsEmpty() const noexcept {
    for (const Atomic<uint64_t>& word : words_) {
      // S4 <-> S5: as in Freelist::IsEmpty.
      if (Holds(word.load(std::memory_order_seq_cst))) return false;
    }
    return true;
  }

  uint64_t pushes() const noexcept {
    uint64_t sum = 0;
#pragma GCC unroll 7
    for (const Atomic<uint64_t>& word : words_) {
      // A10 <- R10: keeps the load in its place in a search.
      sum += word.load(std::memory_order_acquire);
    }
    return sum >> kIndexBits;  // indices do not carry: see kMaxSpares
  }

  // Requires: nobody pushes or pops meanwhile.
  template <typename Visitor>
  void ForEach(Visitor&& visit) const {
    for (const Atomic<uint64_t>& word : words_) {
      // relaxed: nobody writes
      const uint64_t value = word.load(std::memory_order_relaxed);
      if (Holds(value)) visit(IndexIn(value));
    }
  }

 private:
  static constexpr uint32_t kWords = P::kSpareWords;
  static constexpr uint64_t kOnePush = uint64_t{1} << kIndexBits;
  static_assert(kWords * uint64_t{kMaxSpares} < kOnePush);

  static uint32_t Next(uint32_t at) { return at + 1 < kWords ? at + 1 : 0; }
  static bool Holds(uint64_t word) { return (word & kIndexMask) != 0; }
  static uint32_t IndexIn(uint64_t word) {
    return static_cast<uint32_t>(word & kIndexMask) - 1;
  }

  // Moves the beginning on from `at`, if somebody has taken what was there.
  bool MoveOn(uint32_t at) noexcept {
    // relaxed, both: a guess
    if (Holds(words_[at].load(std::memory_order_relaxed))) return false;
    begin_.store(Next(at), std::memory_order_relaxed);
    return true;
  }

  static bool Take(Atomic<uint64_t>& word, uint32_t& index) noexcept {
    // relaxed: the CAS validates it
    uint64_t value = word.load(std::memory_order_relaxed);
    while (Holds(value)) {
      index = IndexIn(value);
      // A10 <- R10: the object as it was pushed. relaxed on failure: the next
      // round validates it
      if (word.compare_exchange_weak(value, value & ~kIndexMask,
                                     std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  Atomic<uint64_t> words_[kWords];  // pushes so far << kIndexBits | (index + 1)
  // Of the next word to pop from, and to push to; equal: none holds any. In the
  // next line, as accesses to one that is just being locked wait.
  Atomic<uint32_t> begin_;
  Atomic<uint32_t> end_;
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_SPARES_H_
