// SPDX-License-Identifier: Apache-2.0
#include "objpool/objpool_hot.h"

#include "objpool/closing.h"
#include "objpool/popping.h"
#include "objpool/pushing.h"
#include "objpool/sizing.h"

namespace retprobe {
namespace {

PoolCore* CoreOf(void* magazines) {
  return static_cast<PoolCore*>(
      static_cast<MagazineHeader*>(magazines)[-1].core);
}

}  // namespace

template struct BasicPoolCore<Native>;

}  // namespace retprobe

extern "C" {

void* retprobe_pop_slow(void* magazines) noexcept {
  return retprobe::CoreOf(magazines)->PopSlow();
}

void retprobe_push_slow(void* magazines, void* object) noexcept {
  retprobe::CoreOf(magazines)->PushSlow(object);
}

}  // extern "C"
