// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_OBJPOOL_HOT_H_
#define RETPROBE_OBJPOOL_OBJPOOL_HOT_H_

#include "objpool/native.h"
#include "objpool/pool_core.h"
#include "retprobe/export.h"

extern "C" {
RETPROBE_API void* retprobe_pop_slow(void* magazines) noexcept;
RETPROBE_API void retprobe_push_slow(void* magazines, void* object) noexcept;
}

namespace retprobe {

extern template struct BasicPoolCore<Native>;

// The pool's algorithms on the real machine; compiled in objpool_hot.cc.
struct PoolCore : BasicPoolCore<Native> {
  // As ObjPool's, for those who have but the magazines.
  static void Push(void* magazines, void* object, ptrdiff_t rseq) noexcept {
    if (!arch::MagazinePush(magazines, object, rseq)) {
      retprobe_push_slow(magazines, object);
    }
  }

  // The mapping that everything lies in.
  void* memory;
  uint64_t mapped;
  uint64_t objects_mapped;
  void (*released)(void* context);
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_OBJPOOL_HOT_H_
