// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <linux/rseq.h>
#include <sys/rseq.h>
#include <sys/wait.h>

#include <thread>

#include "pool_backends.h"
#include "pool_stress.h"
#include "retprobe/objpool.h"

namespace retprobe::test {
namespace {

void CheckNothingBroke(PoolStress<ObjPool>& stress, const ObjPool& pool) {
  CHECK(stress.duplicates() == 0);
  CHECK(stress.overwritten() == 0);
  CHECK(stress.foreign() == 0);
  CHECK(stress.hits() > 0);
  CHECK(stress.CountIdle() == pool.capacity());
  CHECK(stress.duplicates() == 0);
}

TEST_CASE("threads that migrate and are interrupted lose and double nothing") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    // Few objects (always starved), enough, many, and a pool that grows.
    const ObjPool::Options pools[] = {
        {.object_size = 64, .object_count = 6, .backend = backend},
        {.object_size = 280, .object_count = 32, .backend = backend},
        {.object_size = 512, .object_count = 1000, .backend = backend},
        {.object_size = 64,
         .object_count = 4,
         .max_objects = 64,
         .backend = backend},
    };
    for (const ObjPool::Options& options : pools) {
      CAPTURE(options.object_count);
      const auto pool = MakePool(options);
      PoolStress<ObjPool> stress(*pool);
      stress.Run({.threads = 4,
                  .hold = 6,
                  .seconds = StressSeconds() / 4,
                  .signals = true,
                  .migrate = true});
      CHECK(stress.signals() > 0);
      CheckNothingBroke(stress, *pool);
    }
  }
}

TEST_CASE("as many objects as threads are enough") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool =
        MakePool({.object_size = 64, .object_count = 4, .backend = backend});
    PoolStress<ObjPool> stress(*pool);
    stress.Run({.threads = 4,
                .hold = 1,
                .seconds = StressSeconds() / 2,
                .migrate = true});
    CheckNothingBroke(stress, *pool);
    CHECK(stress.misses() == 0);
    CHECK(pool->GetStats().misses == 1);  // CountIdle's
  }
}

// Takes away this thread's rseq registration for its lifetime.
class NoRseqHere {
 public:
  NoRseqHere() { Call(RSEQ_FLAG_UNREGISTER); }
  ~NoRseqHere() { Call(0); }
  NoRseqHere(const NoRseqHere&) = delete;
  NoRseqHere& operator=(const NoRseqHere&) = delete;
  bool ok() const { return ok_; }

 private:
  void Call(int flags) {
    char* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
    for (const unsigned size : {32u, unsigned{__rseq_size}}) {
      ok_ = syscall(SYS_rseq, area, size, flags, 0x53053053) == 0;
      if (ok_) return;
    }
  }
  bool ok_ = false;
};

TEST_CASE("threads without rseq share a pool with those that have it") {
  if (!RseqAvailable()) {
    MESSAGE("skipped: no thread has rseq here");
    return;
  }
  const auto pool = MakePool({.object_size = 64,
                              .object_count = 32,
                              .backend = ObjPool::Backend::kRseq});
  PoolStress<ObjPool> stress(*pool);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> turns{0};
  std::atomic<bool> unregistered{false};
  std::thread without([&] {
    const NoRseqHere no_rseq;
    unregistered = no_rseq.ok();
    while (!stop) {
      void* objects[8] = {};
      for (void*& object : objects) {
        object = pool->Pop();
        if (object != nullptr && !stress.Own(object)) object = nullptr;
      }
      for (void* object : objects) {
        if (object != nullptr) {
          stress.Release(object);
          ++turns;
        }
      }
    }
  });
  stress.Run({.threads = 3,
              .hold = 12,
              .seconds = StressSeconds() / 2,
              .signals = true,
              .migrate = true});
  stop = true;
  without.join();
  CHECK(unregistered);
  CHECK(turns > 0);
  CheckNothingBroke(stress, *pool);
}

TEST_CASE("a fork child can use what no other thread held") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool =
        MakePool({.object_size = 64, .object_count = 64, .backend = backend});
    PoolStress<ObjPool> stress(*pool);
    std::thread threads([&] {
      stress.Run({.threads = 3,
                  .hold = 8,
                  .seconds = StressSeconds() / 2,
                  .signals = true});
    });
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::duration<double>(StressSeconds() / 2);
    int children = 0;
    while (std::chrono::steady_clock::now() < end) {
      const pid_t child = fork();
      if (child == 0) {
        alarm(10);
        // At most 24 are with the other threads, and 3 * 2 with handlers.
        const size_t idle = stress.CountIdle();
        const size_t again = stress.CountIdle();
        _exit(stress.failed() ? 1 : idle < 1 ? 2 : idle != again ? 3 : 0);
      }
      REQUIRE(child > 0);
      int status = -1;
      REQUIRE(waitpid(child, &status, 0) == child);
      CHECK(status == 0);
      ++children;
    }
    threads.join();
    CHECK(children > 0);
    CheckNothingBroke(stress, *pool);
  }
}

}  // namespace
}  // namespace retprobe::test
