// SPDX-License-Identifier: Apache-2.0
#include "kept.h"

static
#include "kept_callee.inc"
    static long
    KeptCaller(long seed);
#include "kept_caller.inc"

extern "C" KeptCase kept_in_unit() {
  return {reinterpret_cast<void*>(&KeptCallee),
          reinterpret_cast<void*>(&KeptCaller), &KeptCaller, &KeptExpected};
}
