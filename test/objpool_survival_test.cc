// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <atomic>
#include <set>
#include <thread>

#include "objpool/memory_checkers.h"
#include "objpool/native.h"
#include "pool_backends.h"
#include "pool_stress.h"
#include "topology/topology.h"

// What a pool knows of its objects when threads come, go, are cut off by a fork
// or want the very last object.

namespace retprobe::test {
namespace {

std::set<void*> Set(const std::vector<void*>& objects) {
  return {objects.begin(), objects.end()};
}

TEST_CASE("objects in use are named, wherever the idle ones wait") {
  const AffinityGuard affinity;
  for (const auto backend : Backends()) {
    for (const int magazine : {-1, 0, 1, 62}) {
      CAPTURE(Name(backend));
      CAPTURE(magazine);
      const auto pool = MakePool({.object_size = 64,
                                  .object_count = 200,
                                  .max_objects = 300,
                                  .magazine_capacity = magazine,
                                  .ring_capacity = 8,
                                  .backend = backend});
      CHECK(pool->InUse().empty());
      // Fresh ones stay; some go to each CPU's magazine, ring and freelist.
      std::vector<void*> held;
      for (int i = 0; i < 160; ++i) held.push_back(pool->Pop());
      CHECK(Set(pool->InUse()) == Set(held));
      for (unsigned cpu = 0; cpu < 2; ++cpu) {
        PinTo(affinity.Nth(cpu));
        for (int i = 0; i < 70; ++i) {
          pool->Push(held.back());
          held.pop_back();
        }
        CHECK(Set(pool->InUse()) == Set(held));
      }
      // A miss freezes the magazines; what a frozen one holds is idle.
      std::vector<void*> rest = PopAll(*pool);
      CHECK(pool->InUse().size() == 300);
      for (void* object : rest) pool->Push(object);
      CHECK(Set(pool->InUse()) == Set(held));
      for (int i = 0; i < 7; ++i) held.push_back(pool->Pop());
      CHECK(Set(pool->InUse()) == Set(held));
      pool->Drop(held.back());
      held.pop_back();
      CHECK(Set(pool->InUse()) == Set(held));
    }
  }
}

TEST_CASE("what is in a frozen magazine is idle") {
  const AffinityGuard affinity;
  const auto pool = MakePool(
      {.object_size = 64, .object_count = 20, .magazine_capacity = 20});
  if (pool->magazine_capacity() == 0) {
    MESSAGE("skipped: no magazines here");
    return;
  }
  PinTo(affinity.Nth(0));
  std::vector<void*> held;
  for (int i = 0; i < 20; ++i) held.push_back(pool->Pop());
  for (int i = 0; i < 15; ++i) {
    pool->Push(held.back());
    held.pop_back();
  }
  auto* magazine = static_cast<Magazine*>(pool->magazines()) + affinity.Nth(0);
  REQUIRE(magazine->count.load() == 14);
  const auto frozen = kFrozen | (uint64_t{77} << kFreezeShift);
  magazine->count = static_cast<int64_t>(frozen | 14);
  CHECK(Set(pool->InUse()) == Set(held));
  void* front = reinterpret_cast<void*>(magazine->front.load());
  magazine->front = static_cast<int64_t>(frozen | pool->IndexOf(front));
  CHECK(Set(pool->InUse()) == Set(held));
  CHECK(PopAll(*pool).size() == 15);
}

TEST_CASE("what threads leave behind is found when they are gone") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool =
        MakePool({.object_size = 64, .object_count = 100, .backend = backend});
    std::set<void*> forgotten;
    for (int i = 0; i < 20; ++i) {
      std::thread([&] {
        void* objects[5];
        CHECK(pool->PopBatch(objects, 5) == 5);
        pool->PushBatch(objects + 1, 4);
        forgotten.insert(objects[0]);
      }).join();
    }
    CHECK(Set(pool->InUse()) == forgotten);
    void* kept = *forgotten.begin();
    CHECK(pool->Reclaim([&](void* object) { return object == kept; }) == 19);
    CHECK(pool->InUse() == std::vector<void*>{kept});
    CHECK(PopAll(*pool).size() == 99);
    for (void* object : pool->InUse()) pool->Push(object);
  }
}

// In a fork child: 0 when all objects can be had again.
int TryAll(ObjPool& pool, void* kept) {
  const size_t idle = pool.capacity() - pool.InUse().size();
  if (pool.Reclaim([&](void* object) { return object == kept; }) !=
      pool.capacity() - 1 - idle) {
    return 1;
  }
  for (int round = 0; round < 3; ++round) {
    const std::vector<void*> all = PopAll(pool);
    if (Set(all).size() != pool.capacity() - 1) return 2;
    if (all.size() != pool.capacity() - 1) return 3;
    if (Set(all).count(kept) != 0) return 4;
    for (void* object : all) pool.Push(object);
  }
  return 0;
}

TEST_CASE("a fork child gets back what threads held that it has not") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool =
        MakePool({.object_size = 64, .object_count = 40, .backend = backend});
    void* kept = pool->Pop();
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] {
        uint64_t random = 31 + i;
        while (!stop) {
          void* objects[20];
          const size_t got = pool->PopBatch(objects, 1 + Random(random) % 20);
          pool->PushBatch(objects, got);
        }
      });
    }
    int children = 0;
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::duration<double>(StressSeconds() / 30);
    while (std::chrono::steady_clock::now() < end) {
      const pid_t child = fork();
      if (child == 0) {
        alarm(20);
        _exit(TryAll(*pool, kept));
      }
      REQUIRE(child > 0);
      int status = -1;
      REQUIRE(waitpid(child, &status, 0) == child);
      CHECK(status == 0);
      ++children;
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(children > 0);
    CHECK(pool->InUse() == std::vector<void*>{kept});
    pool->Push(kept);
  }
}

TEST_CASE("as many objects as threads, one each: nobody sees null") {
  for (const auto backend : Backends()) {
    for (const int count : {1, 2, 5}) {
      CAPTURE(Name(backend));
      CAPTURE(count);
      const auto pool = MakePool({.object_size = 64,
                                  .object_count = static_cast<size_t>(count),
                                  .backend = backend});
      std::atomic<bool> stop{false};
      std::atomic<uint64_t> nulls{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < count; ++i) {
        threads.emplace_back([&] {
          while (!stop) {
            if (void* object = pool->Pop()) {
              pool->Push(object);
            } else {
              ++nulls;
            }
          }
        });
      }
      std::this_thread::sleep_for(
          std::chrono::duration<double>(StressSeconds() / 60));
      stop = true;
      for (std::thread& thread : threads) thread.join();
      CHECK(nulls.load() == 0);
      CHECK(pool->GetStats().misses == 0);
    }
  }
}

TEST_CASE("a pool that was closed opens again, on machines of many nodes too") {
  if (!RseqAvailable() || RETPROBE_DEBUG_CHECKS || RETPROBE_ASAN) {
    MESSAGE("skipped: no magazines");
    return;
  }
  const AffinityGuard affinity;
  for (const char* machine : {"pack:1 core:4 pu:1", "pack:2 numa:1 core:2 pu:1",
                              "pack:4 numa:1 core:1 pu:1"}) {
    CAPTURE(machine);
    auto topology = SyntheticTopology(machine);
    REQUIRE(topology.ok());
    PinTo(affinity.Nth(1));
    const auto pool = MakePool({.object_size = 64,
                                .object_count = 200,
                                .magazine_capacity = 20,
                                .backend = ObjPool::Backend::kRseq,
                                .topology = &*topology});
    for (int round = 0; round < 3; ++round) {
      CHECK(pool->magazine_capacity() == 20);
      const std::vector<void*> all = PopAll(*pool);
      CHECK(all.size() == 200);
      // Later it is open for this CPU alone, which need not close it.
      if (round == 0) CHECK(pool->magazine_capacity() == 0);
      for (void* object : all) pool->Push(object);
      for (int i = 0; i < 5000; ++i) pool->Push(pool->Pop());
    }
    CHECK(pool->magazine_capacity() == 20);
    // While too many are in use it stays closed.
    const std::vector<void*> all = PopAll(*pool);
    CHECK(pool->Resize(100).ok());
    for (int i = 0; i < 99; ++i) pool->Push(all[i]);
    CHECK(pool->Pop() == nullptr);
    CHECK(pool->magazine_capacity() == 0);
    for (size_t i = 99; i < all.size(); ++i) pool->Push(all[i]);
    for (int i = 0; i < 5000; ++i) pool->Push(pool->Pop());
    CHECK(pool->magazine_capacity() == 20);
    CHECK(PopAll(*pool).size() == 100);
  }
}

TEST_CASE("a thread alone that runs short keeps its magazine from nobody") {
  const AffinityGuard affinity;
  if (!RseqAvailable() || RETPROBE_DEBUG_CHECKS || RETPROBE_ASAN ||
      affinity.count() < 2) {
    MESSAGE("skipped: no magazines, or one CPU");
    return;
  }
  constexpr size_t kObjects = 8;
  for (const int alone : {0, 1}) {
    CAPTURE(alone);
    const auto pool = MakePool({.object_size = 64,
                                .object_count = kObjects,
                                .backend = ObjPool::Backend::kRseq});
    const auto run_short = [&](int rounds) {
      for (int round = 0; round < rounds; ++round) {
        const std::vector<void*> all = PopAll(*pool);
        CHECK(all.size() == kObjects);
        for (int i = 0; i < 5; ++i) CHECK(pool->Pop() == nullptr);
        for (void* object : all) pool->Push(object);
      }
    };
    PinTo(affinity.Nth(alone));
    run_short(2000);
    CHECK(pool->magazine_capacity() > 1);
    CHECK(pool->GetStats().drains == 1);
    CHECK(pool->GetStats().misses == 2000 * 6);
    // Another CPU finds every object, each time.
    for (uint64_t round = 1; round < 5; ++round) {
      std::thread([&] {
        PinTo(affinity.Nth(1 - alone));
        run_short(1);
      }).join();
      CHECK(pool->GetStats().drains == 1 + round);
      CHECK(pool->magazine_capacity() == 0);
      run_short(4000);
      CHECK(pool->magazine_capacity() > 1);
      CHECK(pool->GetStats().drains == 1 + round);
    }
    CHECK(PopAll(*pool).size() == kObjects);
  }
}

}  // namespace
}  // namespace retprobe::test
