// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_NATIVE_H_
#define RETPROBE_OBJPOOL_NATIVE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/arch.h"
#include "base/cpu.h"
#include "base/cpu_hot.h"
#include "base/membarrier_hot.h"
#include "objpool/magazine.h"
#include "objpool/slot.h"

namespace retprobe {

// What the pool's algorithms ask of the machine. They are templates over this,
// so that the model checker and the cost model run the same source on machines
// of their own.
// PrepareCurrentCpu() comes first.
struct Native {
  // Memory that is zero is a valid atomic of value zero.
  template <typename T>
  using Atomic = std::atomic<T>;

  // With a freelist's top they are a line of 64 bytes.
  static constexpr uint32_t kSpareWords = 7;

  // The CPU this thread runs on; at least as large as any count of CPUs when
  // nobody knows. `registered`: as the thread's rseq registration says.
  static uint32_t Cpu(bool registered) noexcept {
    if (registered) return arch::RseqCpu(internal::rseq_offset);
    uint32_t cpu;
    return CpuAtHand(cpu) && static_cast<int32_t>(cpu) >= 0
               ? cpu
               : static_cast<uint32_t>(CurrentCpu());
  }
  // The same without a call. False: it takes one.
  static bool CpuAtHand(uint32_t& cpu) noexcept {
    // relaxed: a short cut
    if (!internal::rseq_knows_cpu.load(std::memory_order_relaxed)) return false;
    cpu = arch::RseqCpu(internal::rseq_offset);
    return true;
  }

  // Returns when every other thread has left the restartable sequence it was
  // in, or restarted it, and has made a full memory barrier. False: forbidden.
  static bool Barrier() noexcept { return IssueMembarrier(Membarrier::kRseq); }

  // The sequences: each takes effect as a whole, on the CPU it runs on, or not
  // at all.
  static bool MagazinePush(void* magazines, void* object) noexcept {
    return arch::MagazinePush(magazines, object, internal::rseq_offset);
  }
  // Whether this thread is on `cpu`, whose magazine holds nothing.
  static bool MagazineIsEmpty(void* magazines, uint32_t cpu) noexcept {
    return arch::RseqMagazineIsEmpty(magazines, cpu, internal::rseq_offset);
  }
  // Counts a miss of this CPU. False: it has no magazine.
  static bool CountMiss(void* magazines) noexcept {
    return arch::RseqCountMiss(magazines, internal::rseq_offset);
  }
  // Adds 1 to what this CPU counts. Without a registration a thread may be
  // moved just before: two that then count at the very same moment count as
  // one.
  static void CountHere(Atomic<uint64_t>& count) noexcept {
    arch::IncrementHere(reinterpret_cast<uint64_t*>(&count));
  }
  static arch::RseqResult RingPush(uint32_t cpu, Atomic<uint64_t>& tail,
                                   const Atomic<uint64_t>& head,
                                   Atomic<uint32_t>* entries, uint64_t mask,
                                   uint32_t value) noexcept {
    return arch::RseqRingPush(cpu, reinterpret_cast<uint64_t*>(&tail),
                              reinterpret_cast<const uint64_t*>(&head),
                              reinterpret_cast<uint32_t*>(entries), mask, value,
                              internal::rseq_offset);
  }
};

using Magazine = BasicMagazine<Native>;
using MagazineHeader = BasicMagazineHeader<Native>;

static_assert(sizeof(Magazine) == 1 << RETPROBE_MAGAZINE_SHIFT);
static_assert(sizeof(Slot<Native>) == sizeof(Magazine));
static_assert(offsetof(Magazine, front) == RETPROBE_MAGAZINE_FRONT);
static_assert(sizeof(MagazineHeader) == 64);
static_assert(offsetof(MagazineHeader, state) ==
              64 + RETPROBE_MAGAZINE_HEADER_STATE);
static_assert(offsetof(MagazineHeader, capacity) ==
              64 + RETPROBE_MAGAZINE_HEADER_CAPACITY);
static_assert(offsetof(MagazineHeader, cpus) ==
              64 + RETPROBE_MAGAZINE_HEADER_CPUS);
static_assert(offsetof(MagazineHeader, misses) ==
              64 + RETPROBE_MAGAZINE_HEADER_MISSES);

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_NATIVE_H_
