// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_THROW_H_
#define RETPROBE_BENCH_THROW_H_

// Throws an int through `frames` activations of itself.
long ThrowThroughFrames(long frames);

#endif  // RETPROBE_BENCH_THROW_H_
