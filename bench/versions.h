// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_VERSIONS_H_
#define RETPROBE_BENCH_VERSIONS_H_

namespace retprobe::bench {

// Puts the machine, the compiler, every compared library's version, and the
// pools that are left out with the reason, into the results' context.
void AddContext();

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_VERSIONS_H_
