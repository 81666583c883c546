// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PROOF_RELACY_POLICY_H_
#define RETPROBE_TEST_PROOF_RELACY_POLICY_H_

#include "arch/arch.h"
#include "machine.h"
#include "objpool/magazine.h"
#include "objpool/state.h"

namespace retprobe::proof {

// The pool's policy (objpool/native.h) on the modelled machine: thread i runs
// on CPU i for ever, those beyond have no registration. The restartable
// sequences are what their assembly does, access by access; x86 loads acquire
// and stores release. A membarrier restarts them. What preemption does to them
// is the matter of the Promela models.
struct Model {
  template <typename T>
  using Atomic = proof::Atomic<T>;
  using Magazine = BasicMagazine<Model>;
  using Header = BasicMagazineHeader<Model>;

  // One of them stays empty.
  static constexpr uint32_t kSpareWords = 2;

  static inline uint32_t cpu_count;
  // Without rseq several threads may share a CPU.
  static inline bool share_cpus;

  static uint32_t Cpu(bool) {
    const auto thread = static_cast<uint32_t>(Thread());
    return share_cpus ? thread % cpu_count : thread;
  }
  static bool CpuAtHand(uint32_t& cpu) {
    cpu = Cpu(false);
    return true;
  }
  static bool Barrier() {
    proof::Barrier();
    return true;
  }

  static uintptr_t MagazinePop(void*) { return arch::kLookFurther; }

  static bool MagazinePush(void* magazines, void* object) {
    auto* const header = static_cast<Header*>(magazines) - 1;
    const auto value = reinterpret_cast<uint64_t>(object);
    for (;;) {
      Begin();
      const uint32_t cpu = Cpu(true);
      if (cpu >= (header->state.load(std::memory_order_acquire) & 0xffff)) {
        return false;
      }
      auto& magazine = static_cast<Magazine*>(magazines)[cpu];
      if (magazine.front.load(std::memory_order_acquire) == 0) {
        if (Store(magazine.front, static_cast<int64_t>(value))) return true;
        continue;
      }
      const int64_t count = magazine.count.load(std::memory_order_acquire);
      // relaxed: any capacity is right
      if (static_cast<uint64_t>(count) >=
          header->capacity.load(std::memory_order_relaxed)) {
        return false;
      }
      if (Store(magazine.objects[count], value) &&
          Store(magazine.count, count + 1)) {
        return true;
      }
    }
  }

  // The inlined pop: an object, null when the pool is empty, or kLookFurther.
  static uintptr_t FastPop(void* magazines) {
    auto* const header = static_cast<Header*>(magazines) - 1;
    for (;;) {
      Begin();
      const uint32_t cpu = Cpu(true);
      if (cpu >= (header->state.load(std::memory_order_acquire) & 0xffff)) {
        const uint64_t state = header->state.load(std::memory_order_acquire);
        if (state << (64 - RETPROBE_STATE_WHERE_BITS) != 0 ||
            cpu >= header->cpus) {
          return arch::kLookFurther;
        }
        return 0;
      }
      auto& magazine = static_cast<Magazine*>(magazines)[cpu];
      const int64_t front = magazine.front.load(std::memory_order_acquire);
      if (front > 0) {
        if (Store(magazine.front, int64_t{0})) return front;
        continue;
      }
      const int64_t count = magazine.count.load(std::memory_order_acquire);
      if (count == 0 && magazine.front.load(std::memory_order_acquire) == 0) {
        const uint64_t state = header->state.load(std::memory_order_acquire);
        const uint64_t alone = kSole | kUnsettled | (cpu + 1);
        if (IsEmpty(state ^ alone) && !Aborted()) return 0;
      }
      if (count <= 0) return arch::kLookFurther;
      const uint64_t object =
          magazine.objects[count - 1].load(std::memory_order_acquire);
      if (Store(magazine.count, count - 1)) return object;
    }
  }

  static bool MagazineIsEmpty(void* magazines, uint32_t cpu) {
    Begin();
    auto& magazine = static_cast<Magazine*>(magazines)[cpu];
    return cpu == Cpu(true) &&
           magazine.count.load(std::memory_order_acquire) == 0 &&
           magazine.front.load(std::memory_order_acquire) == 0 && !Aborted();
  }
  static bool CountMiss(void*) { return true; }
  static void CountHere(Atomic<uint64_t>&) {}

  static arch::RseqResult RingPush(uint32_t cpu, Atomic<uint64_t>& tail,
                                   const Atomic<uint64_t>& head,
                                   Atomic<uint32_t>* entries, uint64_t mask,
                                   uint32_t value) {
    Begin();
    if (cpu != Cpu(true)) return arch::RseqResult::kRetry;
    const uint64_t at = tail.load(std::memory_order_relaxed);
    // A1 <- R1 (ring.h)
    if (at - head.load(std::memory_order_acquire) > mask) {
      return arch::RseqResult::kFull;
    }
    if (!Store(entries[at & mask], value, std::memory_order_relaxed)) {
      return arch::RseqResult::kRetry;
    }
    // R0 -> A0 (ring.h)
    return Store(tail, at + 1) ? arch::RseqResult::kDone
                               : arch::RseqResult::kRetry;
  }

 private:
  static void Begin() { cpus[Thread()].aborted = false; }

  static bool Aborted() {
    Serve();
    return cpus[Thread()].aborted;
  }

  // A section's store, unless a membarrier came before.
  template <typename T>
  static bool Store(Atomic<T>& word, T value,
                    std::memory_order order = std::memory_order_release,
                    const char* file = __builtin_FILE(),
                    int line = __builtin_LINE()) {
    if (Aborted()) return false;
    word.store(value, order, file, line);
    return true;
  }
};

}  // namespace retprobe::proof

#endif  // RETPROBE_TEST_PROOF_RELACY_POLICY_H_
