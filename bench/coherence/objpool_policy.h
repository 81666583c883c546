// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_OBJPOOL_POLICY_H_
#define RETPROBE_BENCH_COHERENCE_OBJPOOL_POLICY_H_

#include <cstddef>
#include <cstdint>

#include "arch/arch.h"
#include "coherence/sim_policy.h"
#include "objpool/magazine.h"
#include "objpool/state.h"
#include "retprobe/arch/magazine.h"

namespace retprobe::bench {

// What objpool/native.h is for the real machine. The restartable sequences are
// those of retprobe/arch/x86_64/magazine.h and arch/x86_64/rseq.h, access by
// access; that they agree with the assembly is for the tests of both to see.
struct ObjPoolPolicy : SimPolicy {
  using Header = BasicMagazineHeader<ObjPoolPolicy>;
  using Magazine = BasicMagazine<ObjPoolPolicy>;

  static constexpr uint32_t kSpareWords = 7;

  static uint32_t Cpu(bool registered) noexcept { return SimPolicy::Cpu(); }
  static bool CpuAtHand(uint32_t& cpu) noexcept {
    cpu = SimPolicy::Cpu();
    return true;
  }

  static bool Barrier() noexcept {
    if (Simulator::Current() != nullptr) Simulator::Current()->Barrier();
    return true;
  }

  static uintptr_t MagazinePop(void* magazines) noexcept {
    for (;;) {
      BeginSection();
      Header& header = static_cast<Header*>(magazines)[-1];
      const uint64_t state = header.state.load(std::memory_order_relaxed);
      if (SimPolicy::Cpu() < (state & kGateMask)) {
        Magazine& magazine = Here(magazines);
        const int64_t front = magazine.front.load(std::memory_order_relaxed);
        if (front > 0) {
          if (magazine.front.Commit(0)) return static_cast<uintptr_t>(front);
          continue;
        }
        const int64_t count = magazine.count.load(std::memory_order_relaxed);
        const uint64_t alone = kSole | kUnsettled | (SimPolicy::Cpu() + 1);
        if ((count | front) == 0 && IsEmpty(state ^ alone)) {
          if (IncrementMisses(header)) return 0;
          continue;
        }
        if (count <= 0) return arch::kLookFurther;
        const uint64_t object =
            magazine.objects[count - 1].load(std::memory_order_relaxed);
        if (magazine.count.Commit(count - 1)) return object;
      } else {
        if (!IsEmpty(state) || SimPolicy::Cpu() >= header.cpus) {
          return arch::kLookFurther;
        }
        if (IncrementMisses(header)) return 0;
      }
    }
  }

  static bool MagazinePush(void* magazines, void* object) noexcept {
    for (;;) {
      BeginSection();
      const Header& header = static_cast<Header*>(magazines)[-1];
      const uint64_t state = header.state.load(std::memory_order_relaxed);
      if (SimPolicy::Cpu() >= (state & kGateMask)) return false;
      Magazine& magazine = Here(magazines);
      const auto word = reinterpret_cast<uintptr_t>(object);
      if (magazine.front.load(std::memory_order_relaxed) == 0) {
        if (magazine.front.Commit(static_cast<int64_t>(word))) return true;
        continue;
      }
      const int64_t count = magazine.count.load(std::memory_order_relaxed);
      if (static_cast<uint64_t>(count) >=
          header.capacity.load(std::memory_order_relaxed)) {
        return false;
      }
      magazine.objects[count].store(word, std::memory_order_relaxed);
      if (magazine.count.Commit(count + 1)) return true;
    }
  }

  static bool MagazineIsEmpty(void* magazines, uint32_t cpu) noexcept {
    BeginSection();
    if (SimPolicy::Cpu() != cpu) return false;
    const Magazine& magazine = Here(magazines);
    return magazine.count.load(std::memory_order_relaxed) == 0 &&
           magazine.front.load(std::memory_order_relaxed) == 0;
  }

  static bool CountMiss(void* magazines) noexcept {
    const Header& header = static_cast<Header*>(magazines)[-1];
    if (SimPolicy::Cpu() >= header.cpus) return false;
    do {
      BeginSection();
    } while (!IncrementMisses(header));
    return true;
  }

  static void CountHere(Atomic<uint64_t>& count) noexcept {
    // relaxed, both: an increment that is no atomic
    count.store(count.load(std::memory_order_relaxed) + 1,
                std::memory_order_relaxed);
  }

  static arch::RseqResult RingPush(uint32_t cpu, Atomic<uint64_t>& tail,
                                   const Atomic<uint64_t>& head,
                                   Atomic<uint32_t>* entries, uint64_t mask,
                                   uint32_t value) noexcept {
    BeginSection();
    if (SimPolicy::Cpu() != cpu) return arch::RseqResult::kRetry;
    const uint64_t end = tail.load(std::memory_order_relaxed);
    if (end - head.load(std::memory_order_relaxed) > mask) {
      return arch::RseqResult::kFull;
    }
    entries[end & mask].store(value, std::memory_order_relaxed);
    return tail.Commit(end + 1) ? arch::RseqResult::kDone
                                : arch::RseqResult::kRetry;
  }

 private:
  static void BeginSection() {
    if (Simulator::Current() != nullptr) Simulator::Current()->BeginSection();
  }
  static Magazine& Here(void* magazines) {
    return static_cast<Magazine*>(magazines)[SimPolicy::Cpu()];
  }
  static bool IncrementMisses(const Header& header) {
    auto& misses = *reinterpret_cast<Atomic<uint64_t>*>(
        reinterpret_cast<std::byte*>(header.misses) +
        (size_t{SimPolicy::Cpu()} << RETPROBE_MAGAZINE_SHIFT));
    return misses.Commit(misses.load(std::memory_order_relaxed) + 1);
  }
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_OBJPOOL_POLICY_H_
