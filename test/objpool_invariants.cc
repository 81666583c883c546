// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <atomic>
#include <barrier>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "affinity.h"
#include "object_ledger.h"
#include "pool_backends.h"
#include "pool_stress.h"
#include "retprobe/objpool.h"
#include "signal_storm.h"

// The second part of objpool_conformance_test: what the kernel's module does
// not check. (A ring's positions have 64 bits; they cannot be brought to wrap.)

namespace retprobe::test {
namespace {

using Ledger = ObjectLedger<ObjPool>;
using Options = ObjPool::Options;

constexpr double kSeconds = 0.1;

// A pool of this backend in each test, or the reason why not.
#define POOL_OR_SKIP(pool, ...)         \
  if (!Works(T::kBackend)) {            \
    MESSAGE("skipped: no rseq here");   \
    return;                             \
  }                                     \
  Options pool##_options = __VA_ARGS__; \
  pool##_options.backend = T::kBackend; \
  const auto pool = MakePool(pool##_options)

#define INVARIANT(name) TEST_CASE_TEMPLATE(name, T, RETPROBE_ALL_BACKENDS)

std::set<void*> Set(const std::vector<void*>& objects) {
  return {objects.begin(), objects.end()};
}

void CheckNothingBroke(Ledger& ledger, const ObjPool& pool) {
  CHECK(ledger.CountIdle() == pool.capacity());
  CHECK(ledger.duplicates() == 0);
  CHECK(ledger.overwritten() == 0);
  CHECK(ledger.foreign() == 0);
}

INVARIANT("no object has two owners, and all come back") {
  for (const size_t count : {5, 40, 500}) {
    CAPTURE(count);
    POOL_OR_SKIP(pool, {.object_size = 280, .object_count = count});
    PoolStress<ObjPool> stress(*pool, 35);
    stress.Run({.threads = 6,
                .hold = 6,
                .seconds = kSeconds,
                .signals = true,
                .migrate = true});
    CHECK(stress.hits() > 0);
    CheckNothingBroke(stress.ledger(), *pool);
  }
}

INVARIANT("objects lie in the pool, aligned and apart") {
  for (const size_t alignment : {1, 8, 64, 4096}) {
    for (const size_t size : {1, 280, 512}) {
      CAPTURE(alignment);
      CAPTURE(size);
      POOL_OR_SKIP(
          pool,
          {.object_size = size, .object_count = 20, .alignment = alignment});
      const std::vector<void*> all = PopAll(*pool);
      CHECK(Set(all).size() == 20);
      std::set<size_t> indices;
      for (void* object : all) {
        REQUIRE(pool->Contains(object));
        CHECK(reinterpret_cast<uintptr_t>(object) % alignment == 0);
        indices.insert(pool->IndexOf(object));
        std::memset(object, static_cast<int>(pool->IndexOf(object)), size);
      }
      CHECK(indices.size() == 20);
      CHECK(*indices.rbegin() == 19);
      for (void* object : all) {
        const auto* bytes = static_cast<unsigned char*>(object);
        for (size_t i = 0; i < size; ++i) {
          REQUIRE(bytes[i] == pool->IndexOf(object));
        }
      }
    }
  }
}

INVARIANT("init runs once for each object, whoever makes it") {
  struct Object {
    uint64_t word;
    uint64_t initialized;
  };
  constexpr size_t kObjects = 2000;
  std::atomic<size_t> calls{0};
  POOL_OR_SKIP(pool, {.object_size = sizeof(Object),
                      .object_count = 10,
                      .max_objects = kObjects,
                      .init =
                          [](void* object, void* context) {
                            ++static_cast<Object*>(object)->initialized;
                            ++*static_cast<std::atomic<size_t>*>(context);
                          },
                      .context = &calls});
  CHECK(calls == 10);
  Ledger ledger(*pool);
  std::atomic<size_t> popped{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      std::vector<void*> mine;
      while (void* object = ledger.Pop()) {
        if (static_cast<Object*>(object)->initialized != 1) break;
        mine.push_back(object);
      }
      popped += mine.size();
      for (void* object : mine) ledger.Push(object);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(popped >= kObjects);
  CHECK(calls == kObjects);
  CheckNothingBroke(ledger, *pool);
  CHECK(calls == kObjects);
}

INVARIANT("what one CPU piled up is found on every other") {
  const AffinityGuard affinity;
  for (const size_t count : {1, 7, 62, 1000}) {
    CAPTURE(count);
    POOL_OR_SKIP(pool, {.object_size = 280, .object_count = count});
    const std::set<void*> all = Set(PopAll(*pool));
    REQUIRE(all.size() == count);
    for (unsigned cpu = 0; cpu < affinity.count(); ++cpu) {
      PinTo(affinity.Nth(cpu));
      for (void* object : all) pool->Push(object);
      PinTo(affinity.Nth(cpu + 1));
      CHECK(Set(PopAll(*pool)) == all);
    }
  }
}

INVARIANT("an object may be popped here and pushed there") {
  const AffinityGuard affinity;
  POOL_OR_SKIP(pool, {.object_size = 280, .object_count = 24});
  Ledger ledger(*pool, 35);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned number = 0; number < 3; ++number) {
    threads.emplace_back([&, number] {
      for (unsigned turn = number; !stop; ++turn) {
        PinTo(affinity.Nth(turn));
        void* objects[8];
        for (void*& object : objects) object = ledger.Pop();
        PinTo(affinity.Nth(turn + 1));
        for (void* object : objects) {
          if (object != nullptr) ledger.Push(object);
        }
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(kSeconds));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CheckNothingBroke(ledger, *pool);
}

INVARIANT("an object may be popped by one thread and pushed by another") {
  POOL_OR_SKIP(pool, {.object_size = 280, .object_count = 4});
  Ledger ledger(*pool, 35);
  // Null: nothing there. The exchanges are the edge between the two.
  std::atomic<void*> handed[4] = {};
  std::atomic<bool> stop{false};
  std::thread consumer([&] {
    while (!stop) {
      for (std::atomic<void*>& place : handed) {
        if (void* object = place.exchange(nullptr)) ledger.Push(object);
      }
    }
  });
  uint64_t given = 0;
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(kSeconds);
  // On a busy machine the consumer may not have run by then.
  const auto last = end + std::chrono::seconds(20);
  const auto goes_on = [&] {
    const auto now = std::chrono::steady_clock::now();
    return now < end || (given <= 4 && now < last);
  };
  while (goes_on()) {
    for (std::atomic<void*>& place : handed) {
      if (place.load() != nullptr) continue;
      void* object = ledger.Pop();
      if (object == nullptr) continue;
      place.store(object);
      ++given;
    }
  }
  stop = true;
  consumer.join();
  for (std::atomic<void*>& place : handed) {
    if (void* object = place.load()) ledger.Push(object);
  }
  CHECK(given > 4);
  CheckNothingBroke(ledger, *pool);
}

// Signals each of which may interrupt the others, in the middle of a pop or
// push.
std::atomic<Ledger*> nested_ledger{nullptr};
std::atomic<uint64_t> nested_turns{0};
std::atomic<uint64_t> nested_misses{0};

void PopAndPushInSignal(int) {
  Ledger& ledger = *nested_ledger.load();
  void* object = ledger.Pop();
  if (object == nullptr) {
    ++nested_misses;
    return;
  }
  ledger.Push(object);
  ++nested_turns;
}

INVARIANT("signals pop and push in the middle of a pop and of each other") {
  POOL_OR_SKIP(pool, {.object_size = 280, .object_count = 4});
  Ledger ledger(*pool, 35);
  nested_ledger = &ledger;
  nested_turns = nested_misses = 0;
  uint64_t misses = 0;
  {
    std::vector<std::unique_ptr<SignalStorm>> storms;
    for (int i = 0; i < kNestedSignals; ++i) {
      OnSignal(SIGRTMIN + i, PopAndPushInSignal);
      storms.push_back(
          std::make_unique<SignalStorm>(40'000 + 3'571 * i, SIGRTMIN + i));
    }
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::duration<double>(kSeconds);
    while (std::chrono::steady_clock::now() < end) {
      for (int i = 0; i < 100; ++i) {
        void* object = ledger.Pop();
        misses += object == nullptr;
        if (object != nullptr) ledger.Push(object);
      }
      LetSignalsIn();
    }
  }
  CHECK(nested_turns > 0);
  // One object for the thread, one for each handler.
  CHECK(misses == 0);
  CHECK(nested_misses == 0);
  CheckNothingBroke(ledger, *pool);
}

INVARIANT("a fork's child has a pool of its own") {
  POOL_OR_SKIP(pool, {.object_size = 280, .object_count = 40});
  Ledger ledger(*pool, 35);
  std::vector<void*> held;
  for (int i = 0; i < 10; ++i) held.push_back(ledger.Pop());
  for (int round = 0; round < 5; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      if (ledger.CountIdle() != 30) _exit(1);
      // Threads that are no more had all but two.
      for (int i = 2; i < 10; ++i) ledger.Disown(held[i]);
      const size_t reclaimed = pool->Reclaim([&held](void* object) {
        return object == held[0] || object == held[1];
      });
      if (reclaimed != 8 || ledger.CountIdle() != 38) _exit(2);
      _exit(ledger.failed() ? 3 : 0);
    }
    REQUIRE(child > 0);
    // The child's doings are not seen here.
    CHECK(ledger.CountIdle() == 30);
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  for (void* object : held) ledger.Push(object);
  CheckNothingBroke(ledger, *pool);
}

INVARIANT("a thread that ends leaves nothing behind, and may leave objects") {
  POOL_OR_SKIP(pool, {.object_size = 280, .object_count = 40});
  Ledger ledger(*pool, 35);
  for (int round = 0; round < 20; ++round) {
    void* left[4] = {};
    std::thread([&] {
      std::vector<void*> mine;
      for (int i = 0; i < 20; ++i) mine.push_back(ledger.Pop());
      for (int i = 0; i < 4; ++i) left[i] = mine[i];
      for (int i = 4; i < 20; ++i) ledger.Push(mine[i]);
    }).join();
    CHECK(ledger.CountIdle() == 36);
    for (void* object : left) ledger.Push(object);
    CHECK(ledger.CountIdle() == 40);
  }
  CheckNothingBroke(ledger, *pool);
}

INVARIANT("as many objects as threads want are enough") {
  for (const int threads : {2, 5}) {
    CAPTURE(threads);
    POOL_OR_SKIP(pool, {.object_size = 280,
                        .object_count = static_cast<size_t>(threads)});
    PoolStress<ObjPool> stress(*pool, 35);
    stress.Run(
        {.threads = threads, .hold = 1, .seconds = kSeconds, .migrate = true});
    CHECK(stress.misses() == 0);
    CHECK(pool->GetStats().misses == 0);
    CheckNothingBroke(stress.ledger(), *pool);
  }
}

INVARIANT("of too few objects each goes to one, and none is left over") {
  constexpr int kThreads = 4;
  constexpr int kWanted = 16;
  constexpr int kRounds = 200;
  POOL_OR_SKIP(pool, {.object_size = 280, .object_count = 40});
  Ledger ledger(*pool, 35);
  std::atomic<int> hits{0};
  std::atomic<int> wrong{0};
  std::barrier together(kThreads);
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      for (int round = 0; round < kRounds; ++round) {
        std::vector<void*> mine;
        for (int i = 0; i < kWanted; ++i) {
          if (void* object = ledger.Pop()) mine.push_back(object);
        }
        hits += static_cast<int>(mine.size());
        together.arrive_and_wait();
        // Somebody wants more, so all are in use, and stay so.
        if (number == 0) {
          wrong += hits.exchange(0) != 40;
          wrong += ledger.Pop() != nullptr;
        }
        together.arrive_and_wait();
        for (void* object : mine) ledger.Push(object);
        together.arrive_and_wait();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CheckNothingBroke(ledger, *pool);
}

INVARIANT("what is dropped makes room, and batches are like single calls") {
  POOL_OR_SKIP(pool, {.object_size = 280, .object_count = 60});
  PoolStress<ObjPool> stress(*pool, 35);
  // On a busy machine the time may be over before the first drop.
  for (int round = 0; round < 20 && pool->GetStats().grown == 0; ++round) {
    stress.Run({.threads = 4,
                .hold = 10,
                .seconds = kSeconds,
                .signals = true,
                .migrate = true,
                .batch = true,
                .drop = true});
  }
  CHECK(pool->GetStats().grown > 0);
  CHECK(pool->InUse().empty());
  CheckNothingBroke(stress.ledger(), *pool);
  CHECK(pool->created() == 60);
}

INVARIANT("a pool is resized while it is used") {
  POOL_OR_SKIP(pool,
               {.object_size = 280, .object_count = 40, .max_objects = 200});
  PoolStress<ObjPool> stress(*pool, 35);
  size_t turn = 0;
  stress.Run({.threads = 4,
              .hold = 10,
              .seconds = kSeconds,
              .signals = true,
              .meanwhile = [&] {
                // May find that others grow the pool at the same time.
                pool->Resize(20 + 35 * (++turn % 6)).IgnoreError();
              }});
  CHECK(pool->Resize(150).ok());
  CHECK(stress.ledger().CountIdle() == 150);
  CHECK(pool->Resize(30).ok());
  CHECK(pool->created() == 30);
  CHECK(stress.ledger().CountIdle() == 30);
  CHECK(pool->Resize(200).ok());
  CheckNothingBroke(stress.ledger(), *pool);
}

}  // namespace
}  // namespace retprobe::test
