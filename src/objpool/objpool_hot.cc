// SPDX-License-Identifier: Apache-2.0
#include "objpool/objpool_hot.h"

#include "objpool/closing.h"
#include "objpool/popping.h"
#include "objpool/pushing.h"
#include "objpool/sizing.h"

namespace retprobe {
namespace {

MagazineHeader& HeaderOf(void* magazines) {
  return static_cast<MagazineHeader*>(magazines)[-1];
}

}  // namespace

template struct BasicPoolCore<Native>;

}  // namespace retprobe

extern "C" {

void* retprobe_pop_slow(void* magazines) noexcept {
  return retprobe::PoolCore::PopSlow(retprobe::HeaderOf(magazines));
}

void retprobe_push_slow(void* magazines, void* object) noexcept {
  retprobe::PoolCore::PushSlow(retprobe::HeaderOf(magazines), object);
}

}  // extern "C"
