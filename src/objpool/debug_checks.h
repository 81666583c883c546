// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_DEBUG_CHECKS_H_
#define RETPROBE_OBJPOOL_DEBUG_CHECKS_H_

#include <unistd.h>

#include <cstdlib>

#include "objpool/pool_core.h"

// With -Ddebug_checks=true every pop and push takes the slow path (magazines
// hold nothing) and ends up here.

namespace retprobe {

template <size_t kSize>
[[noreturn]] void PoolFailure(const char (&message)[kSize]) {
  // Nothing can be done about a failed write.
  [[maybe_unused]] const ssize_t ignored =
      write(STDERR_FILENO, message, kSize - 1);
  abort();
}

template <typename Core>
void CheckPop(Core& core, uint32_t index) {
  if constexpr (!RETPROBE_DEBUG_CHECKS) return;
  // relaxed: the pool's own edges order the owners
  if (core.in_use[index].exchange(1, std::memory_order_relaxed) != 0) {
    PoolFailure("retprobe: ObjPool: an object was handed out twice\n");
  }
}

template <typename Core>
void CheckPush(Core& core, void* object) {
  if constexpr (!RETPROBE_DEBUG_CHECKS) return;
  if (!core.Contains(object)) {
    PoolFailure("retprobe: ObjPool: push of an object of somebody else\n");
  }
  // relaxed: the pool's own edges order the owners
  if (core.in_use[core.Index(object)].exchange(0, std::memory_order_relaxed) !=
      1) {
    PoolFailure("retprobe: ObjPool: push of an object that is not in use\n");
  }
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_DEBUG_CHECKS_H_
