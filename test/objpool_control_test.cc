// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <mutex>

#include "kernel_ring.h"
#include "pool_stress.h"

// Would the stress tests notice? Pools that are known to be wrong.

namespace retprobe::test {
namespace {

TEST_CASE("the checker catches the kernel's ring when it is interrupted") {
  KernelRing ring(16);
  PoolStress<KernelRing> stress(ring);
  for (int round = 0; round < 20 && !stress.ledger().failed() && !ring.stuck();
       ++round) {
    stress.Run({.threads = 8,
                .hold = 4,
                .seconds = 0.5,
                .signals = true,
                .migrate = true,
                .stop_at_failure = true});
  }
  MESSAGE(stress.ledger().duplicates()
          << " handed out twice, " << stress.ledger().overwritten()
          << " overwritten, stuck: " << ring.stuck());
  if (!stress.ledger().failed() && !ring.stuck()) {
    MESSAGE("skipped: 10 s without a preemption in the window");
    return;
  }
  CHECK((stress.ledger().failed() || ring.stuck()));
}

// Hands the same object out again now and then.
class DoublingPool {
 public:
  void* Pop() {
    const std::lock_guard lock(mutex_);
    if (++pops_ % 1000 == 0) return &objects_[0];
    return free_ != 0 ? &objects_[--free_] : nullptr;
  }
  void Push(void*) {}
  size_t capacity() const { return 64; }
  size_t IndexOf(const void* object) const {
    return static_cast<const Object*>(object) - objects_;
  }

 private:
  struct Object {
    std::atomic<uint64_t> word{0};
  };
  std::mutex mutex_;
  Object objects_[64];
  size_t free_ = 64;
  int pops_ = 0;
};

TEST_CASE("the checker catches an object that is lost") {
  DoublingPool pool;
  PoolStress<DoublingPool> stress(pool);
  stress.Run({.threads = 2, .hold = 60, .seconds = 0.2});
  CHECK(stress.ledger().CountIdle() != pool.capacity());
}

}  // namespace
}  // namespace retprobe::test
