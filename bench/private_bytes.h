// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PRIVATE_BYTES_H_
#define RETPROBE_BENCH_PRIVATE_BYTES_H_

// Bytes of memory that only this process has, with what malloc keeps for later
// given back.
long PrivateBytes();

// Of these, those that are no file's: without the pages of code that patching
// has made the process's own.
long AnonymousBytes();

#endif  // RETPROBE_BENCH_PRIVATE_BYTES_H_
