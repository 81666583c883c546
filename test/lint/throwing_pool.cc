// SPDX-License-Identifier: Apache-2.0
#include "retprobe/pool.h"

// Compiles unless RETPROBE_THROWING is 1: then the constructor may throw.

struct Object {
  Object() noexcept(RETPROBE_THROWING == 0) {}
};

template class retprobe::Pool<Object>;
