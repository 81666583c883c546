// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <linux/rseq.h>
#include <sys/rseq.h>

#include <thread>

#include "child_pool.h"
#include "pool_backends.h"
#include "pool_stress.h"
#include "retprobe/objpool.h"

namespace retprobe::test {
namespace {

// Seconds for each of `runs`, which have `share` of all.
double Each(double share, size_t runs) {
  return StressSeconds() * share / static_cast<double>(runs);
}

void CheckNothingBroke(PoolStress<ObjPool>& stress, const ObjPool& pool) {
  CHECK(stress.hits() > 0);
  CHECK(stress.ledger().CountIdle() == pool.capacity());
  CHECK(stress.ledger().duplicates() == 0);
  CHECK(stress.ledger().overwritten() == 0);
  CHECK(stress.ledger().foreign() == 0);
}

TEST_CASE("threads that migrate and are interrupted lose and double nothing") {
  const double seconds = Each(0.25, 4 * Backends().size());
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
                  .seconds = seconds,
                  .signals = true,
                  .migrate = true});
      CHECK(stress.signals() > 0);
      CheckNothingBroke(stress, *pool);
    }
  }
}

TEST_CASE("as many objects as threads are enough") {
  const double seconds = Each(0.125, Backends().size());
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool =
        MakePool({.object_size = 64, .object_count = 4, .backend = backend});
    PoolStress<ObjPool> stress(*pool);
    stress.Run({.threads = 4, .hold = 1, .seconds = seconds, .migrate = true});
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
  const double seconds = Each(0.125, 1);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> turns{0};
  std::atomic<bool> unregistered{false};
  std::thread without([&] {
    const NoRseqHere no_rseq;
    unregistered = no_rseq.ok();
    while (!stop) {
      void* objects[8] = {};
      for (void*& object : objects) {
        object = stress.ledger().Pop();
      }
      for (void* object : objects) {
        if (object != nullptr) {
          stress.ledger().Push(object);
          ++turns;
        }
      }
    }
  });
  stress.Run({.threads = 3,
              .hold = 12,
              .seconds = seconds,
              .signals = true,
              .migrate = true});
  stop = true;
  without.join();
  CHECK(unregistered);
  CHECK(turns > 0);
  CheckNothingBroke(stress, *pool);
}

TEST_CASE("a fork child can use what no other thread held") {
  const double seconds = Each(0.125, Backends().size());
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool =
        MakePool({.object_size = 64, .object_count = 64, .backend = backend});
    PoolStress<ObjPool> stress(*pool);
    int children = 0;
    stress.Run(
        {.threads = 3,
         .hold = 8,
         .seconds = seconds,
         .signals = true,
         .meanwhile = [&] {
           // At most 24 are with the other threads, and 3 * 2 with
           // handlers.
           CHECK(StatusOfChildThatCounts(*pool, stress.ledger(), 1, 64) == 0);
           ++children;
         }});
    CHECK(children > 0);
    CheckNothingBroke(stress, *pool);
  }
}

}  // namespace
}  // namespace retprobe::test
