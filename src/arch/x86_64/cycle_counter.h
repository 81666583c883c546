// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_CYCLE_COUNTER_H_
#define RETPROBE_ARCH_X86_64_CYCLE_COUNTER_H_

#include <cpuid.h>

#include <cstdint>

namespace retprobe::arch {

// Not ordered against what surrounds it: a handful of instructions early or
// late is less than what ordering would cost.
inline uint64_t CycleCounter() {
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return uint64_t{high} << 32 | low;
}

// Whether the counter runs at one rate, in every power state, on all CPUs.
inline bool CycleCounterIsClock() {
  uint32_t eax, ebx, ecx, edx;
  if (__get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (edx & (1u << 8)) != 0;
}

}  // namespace retprobe::arch

#endif  // RETPROBE_ARCH_X86_64_CYCLE_COUNTER_H_
