// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_UNINTERRUPTED_RING_H_
#define RETPROBE_BENCH_COHERENCE_UNINTERRUPTED_RING_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "peers/policy.h"
#include "peers/store.h"

namespace retprobe::bench {

// lib/objpool.c of Linux access by access, as published figures measured it. It
// needs what the kernel gives it, interrupts turned off, and virtual CPUs have
// none; on real ones use KernelRing.
template <typename Policy>
class UninterruptedRing {
 public:
  UninterruptedRing(size_t count, size_t size, uint32_t cpus)
      : cpus_(cpus),
        slots_(cpus),
        capacity_(std::bit_ceil(count)),
        slot_words_((kHeaderWords + capacity_ + 15) / 16 * 16),
        words_(cpus * slot_words_),
        store_(count, size) {
    for (uint32_t cpu = 0; cpu < cpus; ++cpu) {
      slots_[cpu].store(&words_[cpu * slot_words_], std::memory_order_relaxed);
    }
    for (size_t i = 0; i < count; ++i) PushTo(i % cpus, store_.At(i));
  }
  void* Pop() {
    uint32_t cpu = Here<Policy>(cpus_);
    for (uint32_t i = 0; i < cpus_; ++i, cpu = NextCpu(cpu, cpus_)) {
      void* object = PopFrom(cpu);
      if (object != nullptr) return object;
    }
    return nullptr;
  }
  void Push(void* object) { PushTo(Here<Policy>(cpus_), object); }

 private:
  using Word = typename Policy::template Atomic<uint64_t>;
  // head, tail, last, all on one line with the first entries.
  static constexpr size_t kHead = 0;
  static constexpr size_t kTail = 1;
  static constexpr size_t kLast = 2;
  static constexpr size_t kHeaderWords = 4;

  Word& EntryAt(Word* slot, uint64_t position) const {
    return slot[kHeaderWords + (position & (capacity_ - 1))];
  }
  void PushTo(uint32_t cpu, void* object) {
    Word* const slot = slots_[cpu].load(std::memory_order_relaxed);
    uint64_t tail = slot[kTail].load(std::memory_order_relaxed);
    do {
      // The kernel warns here if there are too many.
      slot[kHead].load(std::memory_order_relaxed);
    } while (!slot[kTail].compare_exchange_strong(
        tail, tail + 1, std::memory_order_acquire, std::memory_order_acquire));
    EntryAt(slot, tail)
        .store(reinterpret_cast<uintptr_t>(object), std::memory_order_relaxed);
    slot[kLast].store(tail + 1, std::memory_order_release);
  }
  void* PopFrom(uint32_t cpu) {
    Word* const slot = slots_[cpu].load(std::memory_order_relaxed);
    uint64_t head = slot[kHead].load(std::memory_order_acquire);
    while (head != slot[kLast].load(std::memory_order_acquire)) {
      const uint64_t object =
          EntryAt(slot, head).load(std::memory_order_relaxed);
      if (slot[kHead].compare_exchange_strong(head, head + 1,
                                              std::memory_order_release,
                                              std::memory_order_acquire)) {
        return reinterpret_cast<void*>(object);
      }
    }
    return nullptr;
  }

  uint32_t cpus_;
  ZeroArray<typename Policy::template Atomic<Word*>> slots_;
  uint64_t capacity_;
  size_t slot_words_;
  ZeroArray<Word> words_;
  Store store_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_UNINTERRUPTED_RING_H_
