// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstring>
#include <string_view>

#include "retprobe/objpool.h"

// usage: pool_misuse
// none|double_push|foreign|interior|drop_twice|write|read|leak Does to a pool
// what must not be done, for objpool_checks_test.

namespace {

using retprobe::ObjPool;

// Not seen through, and not before the push.
char* Hidden(void* object) {
  asm volatile("" : "+r"(object) : : "memory");
  return static_cast<char*>(object);
}

int Misuse(std::string_view what, std::unique_ptr<ObjPool> pool) {
  void* objects[6];
  if (pool->PopBatch(objects, 6) != 6) return 3;
  for (void* object : objects) std::memset(object, 1, 48);
  char* const object = Hidden(objects[5]);
  if (what != "leak") pool->PushBatch(objects, 5);
  if (what == "foreign") {
    alignas(64) char foreign[64] = {};
    pool->Push(Hidden(foreign));
  } else if (what == "interior") {
    pool->Push(object + 8);
  } else if (what == "drop_twice") {
    pool->Drop(object);
    pool->Drop(object);
  } else {
    pool->Push(object);
  }
  if (what == "double_push") pool->Push(object);
  if (what == "write") *Hidden(object) = 2;
  if (what == "read") std::printf("%d\n", *Hidden(object));
  if (what == "write" || what == "double_push") {
    // Where nobody checks, an object that is there twice never ends.
    for (int i = 0; i < 20; ++i) pool->Pop();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto pool = ObjPool::Create(
      {.object_size = 48, .object_count = 10, .max_objects = 20});
  return pool.ok() ? Misuse(argv[1], *std::move(pool)) : 4;
}
