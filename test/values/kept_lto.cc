// SPDX-License-Identifier: Apache-2.0
#include "kept_lto.h"

#include "kept.h"
#include "kept_caller.inc"

extern "C" KeptCase kept_by_lto() {
  return {reinterpret_cast<void*>(&KeptCallee),
          reinterpret_cast<void*>(&KeptCaller), &KeptCaller, &KeptExpected};
}
