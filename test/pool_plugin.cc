// SPDX-License-Identifier: Apache-2.0
#include "retprobe/objpool.h"

// A library that makes a pool, uses it through the inlined fast paths, and is
// unloaded.

extern "C" __attribute__((visibility("default"))) retprobe::ObjPool*
pool_plugin_begin() {
  auto pool =
      retprobe::ObjPool::Create({.object_size = 64, .object_count = 64});
  return pool.ok() ? pool->release() : nullptr;
}

extern "C" __attribute__((visibility("default"))) void pool_plugin_use(
    retprobe::ObjPool* pool) {
  for (int i = 0; i < 1000; ++i) pool->Push(pool->Pop());
}

extern "C" __attribute__((visibility("default"))) void pool_plugin_end(
    retprobe::ObjPool* pool) {
  delete pool;
}
