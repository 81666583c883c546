// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BASE_CPU_HOT_H_
#define RETPROBE_BASE_CPU_HOT_H_

#include <atomic>

namespace retprobe::internal {

inline constexpr int kNoFakeCpu = -2;

using VdsoGetCpu = long (*)(unsigned* cpu, unsigned* node, void* unused);

// Set by cpu.cc, read by cpu_hot.cc.
extern std::atomic<int> fake_cpu;
extern std::atomic<VdsoGetCpu> vdso_getcpu;

}  // namespace retprobe::internal

#endif  // RETPROBE_BASE_CPU_HOT_H_
