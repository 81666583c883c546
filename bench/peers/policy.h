// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_POLICY_H_
#define RETPROBE_BENCH_PEERS_POLICY_H_

#include <atomic>
#include <cstdint>

#include "base/cpu.h"

namespace retprobe::bench {

// What a pool of peers/ asks of the machine. The benchmark gives it the real
// one; the cost model (coherence/) gives the same source a virtual one.
struct NativePolicy {
  // Laid out as T; all zero bytes are a valid T{0}.
  template <typename T>
  using Atomic = std::atomic<T>;

  // This CPU, or anything not below the number of CPUs when nobody knows.
  static uint32_t Cpu() { return static_cast<uint32_t>(CurrentCpu()); }
};

// The CPU, or the first when it is unknown.
template <typename Policy>
uint32_t Here(uint32_t cpus) {
  const uint32_t cpu = Policy::Cpu();
  return cpu < cpus ? cpu : 0;
}

// The CPU after `cpu`, in a circle.
inline uint32_t NextCpu(uint32_t cpu, uint32_t cpus) {
  return cpu + 1 < cpus ? cpu + 1 : 0;
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_POLICY_H_
