// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <thread>

#include "pool_backends.h"
#include "pool_life.h"
#include "pool_stress.h"

// How objects and pools come into being and cease to exist.

namespace retprobe::test {
namespace {

using Objects = std::multiset<void*>;

Objects Set(const std::vector<void*>& objects) {
  return {objects.begin(), objects.end()};
}

TEST_CASE("a dropped object ceases to exist, and another may take its place") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    Life life;
    const auto pool = life.MakePool({.object_count = 5, .backend = backend});
    std::vector<void*> all = PopAll(*pool);
    REQUIRE(all.size() == 5);
    pool->Drop(all[4]);
    CHECK(life.inits == 5);
    CHECK(life.finis == 1);
    CHECK(pool->created() == 4);
    CHECK(pool->ObjectAt(pool->IndexOf(all[4])) == nullptr);
    CHECK(pool->InUse().size() == 4);

    void* another = pool->Pop();
    CHECK(another == all[4]);
    CHECK(life.inits == 6);
    CHECK(pool->created() == 5);
    CHECK(pool->GetStats().grown == 1);
    CHECK(pool->Pop() == nullptr);
    for (void* object : all) pool->Push(object);
    CHECK(Set(PopAll(*pool)) == Set(all));
    for (void* object : all) pool->Drop(object);
    CHECK(pool->created() == 0);
    CHECK(life.finis == 6);
    CHECK(Set(PopAll(*pool)) == Set(all));
    CHECK(life.inits == 11);
    CHECK(life.twice == 0);
  }
}

TEST_CASE("deleting a pool ends every object once, and then the pool") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    Life life;
    Memory memory;
    {
      const auto pool = life.MakePool(
          {.object_count = 100, .max_objects = 200, .backend = backend});
      memory = Memory(*pool);
      CHECK(memory.IsMapped());
      std::vector<void*> some;
      for (int i = 0; i < 120; ++i) some.push_back(pool->Pop());
      for (int i = 0; i < 30; ++i) pool->Push(some[i]);
      for (int i = 30; i < 40; ++i) pool->Drop(some[i]);
      CHECK(life.finis == 10);
      CHECK(life.releases == 0);
      // The others are idle or never used; some are in use.
      for (int i = 50; i < 120; ++i) pool->Push(some[i]);
      for (int i = 40; i < 50; ++i) pool->Push(some[i]);
    }
    CHECK(life.inits == life.finis);
    CHECK(life.twice == 0);
    CHECK(life.releases == 1);
    CHECK(life.mapped_at_release);
    CHECK(!memory.IsMapped());
  }
}

TEST_CASE("a pool without objects is released when it ends") {
  for (const auto backend : Backends()) {
    for (const bool fini : {false, true}) {
      Life life;
      auto pool = life.MakePool({.max_objects = 10, .backend = backend});
      const Memory memory(*pool);
      if (fini) {
        ObjPool::Fini(std::move(pool));
      } else {
        pool.reset();
      }
      CHECK(life.inits == 0);
      CHECK(life.releases == 1);
      CHECK(!memory.IsMapped());
    }
  }
}

TEST_CASE("after Fini the last object takes the pool with it") {
  for (const auto backend : Backends()) {
    for (const int out : {0, 1, 2, 7, 20}) {
      CAPTURE(Name(backend));
      CAPTURE(out);
      Life life;
      auto owner = life.MakePool(
          {.object_count = 20, .max_objects = 30, .backend = backend});
      ObjPool* pool = owner.get();
      const Memory memory(*pool);
      // Idle ones in magazines, slots, and never used ones.
      std::vector<void*> held;
      for (int i = 0; i < 20; ++i) held.push_back(pool->Pop());
      while (held.size() > static_cast<size_t>(out)) {
        pool->Push(held.back());
        held.pop_back();
      }
      ObjPool::Fini(std::move(owner));
      CHECK(life.finis == 20 - out);
      CHECK(life.releases == (out == 0 ? 1 : 0));
      if (out == 0) {
        CHECK(!memory.IsMapped());
        continue;
      }
      CHECK(memory.IsMapped());
      CHECK(pool->created() == held.size());
      CHECK(Set(pool->InUse()) == Set(held));
      size_t visited = 0;
      pool->ForEachObject([&](void*) { ++visited; });
      CHECK(visited == held.size());
      CHECK(pool->Pop() == nullptr);
      // The last ones from other threads, by Push and by Drop.
      for (size_t i = 0; i + 1 < held.size(); ++i) {
        if (i % 2 == 0) {
          pool->Push(held[i]);
        } else {
          pool->Drop(held[i]);
        }
      }
      CHECK(life.releases == 0);
      CHECK(pool->InUse() == std::vector<void*>{held.back()});
      std::thread([&] {
        if (out % 2 == 0) {
          pool->Push(held.back());
        } else {
          pool->Drop(held.back());
        }
      }).join();
      CHECK(life.releases == 1);
      CHECK(life.mapped_at_release);
      CHECK(life.inits == life.finis);
      CHECK(life.twice == 0);
      CHECK(!memory.IsMapped());
    }
  }
}

TEST_CASE("of threads that push the last objects one releases the pool") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    for (int round = 0; round < 200; ++round) {
      Life life;
      auto owner = life.MakePool({.object_count = 8, .backend = backend});
      ObjPool* pool = owner.get();
      const Memory memory(*pool);
      const std::vector<void*> all = PopAll(*pool);
      ObjPool::Fini(std::move(owner));
      std::atomic<int> ready{0};
      const auto give_back = [&](size_t from) {
        ++ready;
        while (ready < 2) {
        }
        for (size_t i = from; i < 8; i += 2) {
          if (i < 4) {
            pool->Push(all[i]);
          } else {
            pool->Drop(all[i]);
          }
        }
      };
      std::thread other(give_back, 1);
      give_back(0);
      other.join();
      REQUIRE(life.releases == 1);
      REQUIRE(life.finis == 8);
      REQUIRE(!memory.IsMapped());
    }
  }
}

TEST_CASE("batches are what so many pops and pushes are") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool =
        MakePool({.object_size = 16, .object_count = 50, .backend = backend});
    void* objects[60];
    CHECK(pool->PopBatch(objects, 0) == 0);
    CHECK(pool->PopBatch(objects, 20) == 20);
    CHECK(pool->PopBatch(objects + 20, 40) == 30);
    CHECK(pool->PopBatch(objects + 50, 1) == 0);
    CHECK(pool->InUse().size() == 50);
    const Objects all(objects, objects + 50);
    CHECK(std::set<void*>(objects, objects + 50).size() == 50);
    pool->PushBatch(objects, 0);
    pool->PushBatch(objects + 1, 49);
    CHECK(pool->InUse() == std::vector<void*>{objects[0]});
    pool->PushBatch(objects, 1);
    CHECK(pool->InUse().empty());
    CHECK(Set(PopAll(*pool)) == all);
  }
}

TEST_CASE("a batch comes back in the order in which it went") {
  const AffinityGuard affinity;
  PinTo(affinity.Nth(0));
  const auto pool = MakePool({.object_size = 16,
                              .object_count = 50,
                              .backend = ObjPool::Backend::kFreelist});
  void* first[20];
  void* second[20];
  CHECK(pool->PopBatch(first, 20) == 20);
  pool->PushBatch(first, 20);
  CHECK(pool->PopBatch(second, 20) == 20);
  CHECK(std::vector<void*>(first, first + 20) ==
        std::vector<void*>(second, second + 20));
}

}  // namespace
}  // namespace retprobe::test
