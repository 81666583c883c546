// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>

#include "pool_backends.h"
#include "pool_life.h"
#include "pool_stress.h"

namespace retprobe::test {
namespace {

std::set<void*> Set(const std::vector<void*>& objects) {
  return {objects.begin(), objects.end()};
}

TEST_CASE("growing makes objects at once") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    Life life;
    const auto pool = life.MakePool(
        {.object_count = 4, .max_objects = 1000, .backend = backend});
    CHECK(pool->Resize(50).ok());
    CHECK(life.inits == 50);
    CHECK(pool->created() == 50);
    CHECK(Set(PopAll(*pool)).size() == 50);
    CHECK(life.inits == 50);
    CHECK(pool->Resize(60, 70).ok());
    CHECK(life.inits == 60);
    CHECK(PopAll(*pool).size() == 20);
    CHECK(life.inits == 70);
    CHECK(pool->Resize(1000).ok());
    CHECK(PopAll(*pool).size() == 930);
    CHECK(pool->InUse().size() == 1000);
    CHECK(life.twice == 0);
    for (void* object : pool->InUse()) pool->Push(object);
  }
}

TEST_CASE("shrinking ends idle objects wherever they wait") {
  const AffinityGuard affinity;
  for (const auto backend : Backends()) {
    for (const int magazine : {-1, 0, 62}) {
      for (const bool closed : {false, true}) {
        CAPTURE(Name(backend));
        CAPTURE(magazine);
        Life life;
        const auto pool = life.MakePool({.object_count = 300,
                                         .max_objects = 400,
                                         .magazine_capacity = magazine,
                                         .backend = backend});
        if (closed) {
          for (void* object : PopAll(*pool)) pool->Push(object);
        } else {
          std::vector<void*> some;
          for (int i = 0; i < 250; ++i) some.push_back(pool->Pop());
          for (unsigned i = 0; i < 250; ++i) {
            PinTo(affinity.Nth(i / 50));
            pool->Push(some[i]);
          }
        }
        CHECK(pool->Resize(20).ok());
        CHECK(pool->created() == 20);
        CHECK(life.inits - life.finis == 20);
        CHECK(pool->InUse().empty());
        const std::vector<void*> left = PopAll(*pool);
        CHECK(Set(left).size() == 20);
        CHECK(Set(pool->InUse()) == Set(left));
        for (void* object : left) pool->Push(object);

        CHECK(pool->Resize(400).ok());
        CHECK(life.inits - life.finis == 400);
        CHECK(Set(PopAll(*pool)).size() == 400);
        for (void* object : pool->InUse()) pool->Push(object);
        CHECK(life.twice == 0);
      }
    }
  }
}

TEST_CASE("shrinking ends objects in use as they come home") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    Life life;
    const auto pool = life.MakePool({.object_count = 40, .backend = backend});
    std::vector<void*> held;
    for (int i = 0; i < 30; ++i) held.push_back(pool->Pop());
    CHECK(pool->Resize(8).ok());
    CHECK(pool->created() == 30);
    CHECK(life.finis == 10);
    CHECK(pool->Pop() == nullptr);
    for (int i = 0; i < 22; ++i) pool->Push(held[i]);
    CHECK(pool->created() == 8);
    CHECK(life.finis == 32);
    CHECK(pool->Pop() == nullptr);
    for (int i = 22; i < 30; ++i) pool->Push(held[i]);
    CHECK(pool->created() == 8);
    CHECK(life.finis == 32);
    CHECK(PopAll(*pool).size() == 8);
    for (void* object : pool->InUse()) pool->Push(object);
  }
}

TEST_CASE("dropped objects count among those that are too many") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    Life life;
    const auto pool = life.MakePool({.object_count = 20, .backend = backend});
    const std::vector<void*> held = PopAll(*pool);
    CHECK(pool->Resize(5).ok());
    for (int i = 0; i < 15; ++i) pool->Drop(held[i]);
    for (int i = 15; i < 20; ++i) pool->Push(held[i]);
    CHECK(pool->created() == 5);
    CHECK(life.inits == 20);
    CHECK(life.finis == 15);
    CHECK(PopAll(*pool).size() == 5);
    for (void* object : pool->InUse()) pool->Push(object);
  }
}

TEST_CASE("a pool that shrank may grow again") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    Life life;
    const auto pool = life.MakePool({.object_count = 20, .backend = backend});
    std::vector<void*> held = PopAll(*pool);
    CHECK(pool->Resize(5, 10).ok());
    CHECK(pool->Pop() == nullptr);  // 20 are in use
    for (int i = 0; i < 15; ++i) pool->Drop(held[i]);
    CHECK(pool->created() == 5);
    CHECK(PopAll(*pool).size() == 5);
    CHECK(pool->created() == 10);
    for (void* object : pool->InUse()) pool->Push(object);
    CHECK(pool->created() == 10);

    CHECK(pool->Resize(3, 10).ok());
    CHECK(pool->created() == 3);
    CHECK(PopAll(*pool).size() == 10);
    for (void* object : pool->InUse()) pool->Push(object);
  }
}

TEST_CASE("a size out of range is named with its range") {
  const auto pool =
      MakePool({.object_size = 8, .object_count = 5, .max_objects = 10});
  const struct {
    size_t count;
    size_t most;
    const char* name;
    const char* range;
  } wrong[] = {
      {0, 0, "object_count is 0", "1 .. 10"},
      {11, 0, "object_count is 11", "1 .. 10"},
      {5, 4, "max_objects is 4", "5 .. 10"},
      {5, 11, "max_objects is 11", "5 .. 10"},
  };
  for (const auto& [count, most, name, range] : wrong) {
    const absl::Status status = pool->Resize(count, most);
    CHECK(absl::IsInvalidArgument(status));
    const std::string message(status.message());
    CAPTURE(message);
    CHECK(message.find(name) != std::string::npos);
    CHECK(message.find(range) != std::string::npos);
    CHECK(pool->created() == 5);
  }
}

TEST_CASE("a pool changes its size under threads that use it") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    Life life;
    const auto pool = life.MakePool(
        {.object_count = 64, .max_objects = 200, .backend = backend});
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> turns{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 3; ++thread) {
      threads.emplace_back([&, thread] {
        uint64_t random = 977 + thread;
        while (!stop) {
          void* objects[12];
          const size_t got = pool->PopBatch(objects, 1 + Random(random) % 12);
          for (size_t i = 0; i < got; ++i) {
            if (Random(random) % 16 == 0) {
              pool->Drop(objects[i]);
            } else {
              pool->Push(objects[i]);
            }
          }
          turns += got;
        }
      });
    }
    uint64_t random = 4711;
    int failed = 0;
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::duration<double>(StressSeconds() / 30);
    while (std::chrono::steady_clock::now() < end) {
      const size_t count = 1 + Random(random) % 200;
      const size_t most = count + Random(random) % (201 - count);
      const absl::Status status = pool->Resize(count, most);
      CHECK((status.ok() || absl::IsResourceExhausted(status)));
      failed += !status.ok();
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    MESSAGE(Name(backend) << ": " << turns.load() << " pops, " << failed
                          << " times not all could be made");
    CHECK(life.twice == 0);
    CHECK(pool->InUse().empty());
    CHECK(pool->created() == static_cast<size_t>(life.inits - life.finis));
    CHECK(pool->Resize(17).ok());
    CHECK(pool->created() == 17);
    CHECK(PopAll(*pool).size() == 17);
    for (void* object : pool->InUse()) pool->Push(object);
    CHECK(pool->Resize(200).ok());
    CHECK(Set(PopAll(*pool)).size() == 200);
    for (void* object : pool->InUse()) pool->Push(object);
    CHECK(life.inits - life.finis == 200);
  }
}

}  // namespace
}  // namespace retprobe::test
