// SPDX-License-Identifier: Apache-2.0
#include "throw.h"

#include <benchmark/benchmark.h>

__attribute__((noinline)) long ThrowThroughFrames(long frames) {
  if (frames == 1) throw 1;
  // Not a tail call, nor one that an accumulator turns into a loop.
  long result = ThrowThroughFrames(frames - 1);
  benchmark::DoNotOptimize(result);
  return result;
}
