// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_VECTOR_CLASS_H_
#define RETPROBE_PROBE_VECTOR_CLASS_H_

#include <cstdint>

#include "rethook/trampoline.h"

namespace retprobe {

// The cheapest class that keeps `vectors`, VectorUse of all handlers that run
// between, on this machine. Requires: PrepareTrampoline was called.
VectorClass ClassFor(uint8_t vectors);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_VECTOR_CLASS_H_
