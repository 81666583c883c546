// SPDX-License-Identifier: Apache-2.0
#include "target.h"

// A few bytes that do next to nothing: what is timed is the way in and out.
// RETPROBE_TARGET names the function; the build compiles this file once for
// each way. RETPROBE_TARGET_ENTRY, if any, is its first instruction.
#if !__has_attribute(noclone)
#define noclone noinline  // clang, which does not clone
#endif
extern "C" __attribute__((noinline, noclone)) long RETPROBE_TARGET(long x) {
#ifdef RETPROBE_TARGET_ENTRY
  asm volatile(RETPROBE_TARGET_ENTRY);
#endif
  return x * 3 + 1;
}
