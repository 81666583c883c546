// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_MANY_FUNCTIONS_H_
#define RETPROBE_BENCH_MANY_FUNCTIONS_H_

#include "absl/types/span.h"

// 10,000 different functions; every second one has a patchable entry, the
// others must have their first instructions moved.
absl::Span<void* const> ManyFunctions();

#endif  // RETPROBE_BENCH_MANY_FUNCTIONS_H_
