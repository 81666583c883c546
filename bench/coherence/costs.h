// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_COSTS_H_
#define RETPROBE_BENCH_COHERENCE_COSTS_H_

#include <array>
#include <cstdint>

namespace retprobe::bench {

// Simulated time, in picoseconds.
using Picoseconds = uint64_t;
inline constexpr Picoseconds kNanosecond = 1000;

// What two CPUs have in common at most.
enum class Distance : uint8_t {
  kSelf,
  kCore,     // SMT siblings
  kCache,    // an L2 or L3
  kPackage,  // the package and NUMA node, but no cache
  kNode,     // the package, but not the NUMA node
  kMachine,  // not even the package
};
inline constexpr int kDistances = 6;

// The one table of what things cost. Nanoseconds; from where, at the values.
struct Costs {
  const char* name;
  // Moving a line from one CPU's cache to another's, or having a copy
  // invalidated there, by Distance.
  std::array<Picoseconds, kDistances> transfer;
  Picoseconds load;       // from one's own cache, when loads overlap
  Picoseconds store;      // into one's own cache
  Picoseconds update;     // a locked read-modify-write there
  Picoseconds cold;       // a line that no CPU has yet
  Picoseconds barrier;    // rseq membarrier, whatever the number of CPUs
  Picoseconds interrupt;  // what it costs each other CPU
};

// Two-socket Ice Lake Xeon. Transfers: medians of nviennot/core-to-core-latency
// for a Xeon 8375C (51 within, 108 across sockets) and its range for SMT
// siblings (5 to 10). kPackage and kNode: EPYC 7R13 across CCXs (107), for
// topologies that have such a thing. Load, store, update, barrier: measured,
// one thread on an Emerald Rapids Xeon (an add to memory 0.42, a peek at one of
// 256 lists 0.44, `lock xadd` 6.3, membarrier with one running sibling 2200).
// Cold: an L2 hit of 14 cycles; see README.md. Interrupt: assumed.
inline constexpr Costs kXeonCosts = {
    .name = "xeon",
    .transfer = {0, 8'000, 51'000, 107'000, 107'000, 108'000},
    .load = 450,
    .store = 450,
    .update = 6'000,
    .cold = 5'000,
    .barrier = 2'200'000,
    .interrupt = 1'000'000,
};

// A large Arm server. Transfers: the same collection, Graviton 2 and 3 (47 and
// 46) for what shares a cache, Kunpeng-920 (72) for the rest of a package;
// across packages it has no Arm figure: 2.1 times that, the lower end of the
// Xeons' ratio. Update: the 38 net per pop and push of the kernel's objpool on
// a Kunpeng-920 ("fix head overrun on RK3588": 14.1 against 30.9 million a
// second), less its plain accesses, by two. The rest as above.
inline constexpr Costs kArmCosts = {
    .name = "arm",
    .transfer = {0, 8'000, 47'000, 72'000, 110'000, 151'000},
    .load = 450,
    .store = 450,
    .update = 16'500,
    .cold = 5'000,
    .barrier = 2'200'000,
    .interrupt = 1'000'000,
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_COSTS_H_
