// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PRIVATE_BYTES_H_
#define RETPROBE_BENCH_PRIVATE_BYTES_H_

// Bytes of memory that only this process has, with what malloc keeps for later
// given back.
long PrivateBytes();

#endif  // RETPROBE_BENCH_PRIVATE_BYTES_H_
