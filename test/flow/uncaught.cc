// SPDX-License-Identifier: Apache-2.0
//
// Dies of an exception that nobody catches, thrown through probed frames; for
// core_test.py.
#include <stdexcept>

#include "flow/target.h"
#include "flow/watched.h"

FLOW_TARGET long core_throw(long x) {
  FLOW_NO_TAIL_CALL;
  if (x >= 0) throw std::runtime_error("nobody");
  return x;
}

FLOW_TARGET long core_middle(long depth) {
  const long result = depth == 0 ? core_throw(1) : core_middle(depth - 1);
  FLOW_NO_TAIL_CALL;
  return result + 1;
}

int main() {
  void* const functions[] = {reinterpret_cast<void*>(&core_throw),
                             reinterpret_cast<void*>(&core_middle)};
  watch_start(kWatchBoth, functions, 2);
  return static_cast<int>(core_middle(2));
}
