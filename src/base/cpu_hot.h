// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BASE_CPU_HOT_H_
#define RETPROBE_BASE_CPU_HOT_H_

#include <atomic>
#include <cstddef>

namespace retprobe::internal {

inline constexpr int kNoFakeCpu = -2;

using VdsoGetCpu = long (*)(unsigned* cpu, unsigned* node, void* unused);

// __rseq_offset, one load away instead of two. Set by PrepareCurrentCpu.
extern ptrdiff_t rseq_offset __attribute__((visibility("hidden")));

// Whether CurrentCpu() is what the rseq area says, in threads that have a
// registration. Set by PrepareCurrentCpu and FakeCpu.
extern std::atomic<bool> rseq_knows_cpu __attribute__((visibility("hidden")));

// Set by cpu.cc, read by cpu_hot.cc.
extern std::atomic<int> fake_cpu;
extern std::atomic<VdsoGetCpu> vdso_getcpu;

}  // namespace retprobe::internal

#endif  // RETPROBE_BASE_CPU_HOT_H_
