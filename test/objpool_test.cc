// SPDX-License-Identifier: Apache-2.0
#include "retprobe/objpool.h"

#include <doctest/doctest.h>

#include <set>

namespace retprobe {
namespace {

TEST_CASE("every object can be popped once and comes back") {
  for (auto backend : {ObjPool::Backend::kAuto, ObjPool::Backend::kCas}) {
    auto pool = ObjPool::Create({.object_size = 100, .object_count = 50, .max_objects=70, .backend = backend});
    REQUIRE(pool.ok());
    for (int i = 0; i < 3; ++i) {
      std::set<void*> seen;
      while (void* o = (*pool)->Pop()) {
        CHECK((*pool)->Contains(o));
        CHECK(seen.insert(o).second);
      }
      CHECK(seen.size() == 70);
      for (void* o : seen) (*pool)->Push(o);
    }
  }
}

}  // namespace
}  // namespace retprobe
