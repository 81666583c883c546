// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "affinity.h"
#include "object_ledger.h"
#include "pool_backends.h"
#include "retprobe/objpool.h"
#include "signal_storm.h"

// The ten cases of the kernel's lib/test_objpool.c (Linux 6.7) in userspace: a
// thread on each CPU pops a few objects and pushes them, eight objects per CPU.
// A timer's signal stands for the interrupt. The kernel's module counts hits
// and misses and looks at nothing; here every object has one owner, comes home,
// and nobody goes without who need not. Invariants beyond that are in
// objpool_invariants.cc.

namespace retprobe::test {
namespace {

using std::chrono::milliseconds;

constexpr int kMaxBulk = 16;
constexpr int kObjectsPerCpu = 8;

// sizeof(struct ot_node), and what the kernel takes from vmalloc.
constexpr size_t kCompact = 280;
constexpr size_t kLarge = 512;

struct KernelCase {
  size_t object_size;
  int bulk;                // objects that a thread wants at once
  int interrupt_bulk = 0;  // and its signal handler
  int interrupt_ms = 0;    // between two signals; 0: none
  int delay_ms = 0;        // for which a thread keeps the objects each time
  bool async = false;      // the pool ends while objects are out
};

struct Counts {
  uint64_t wanted = 0;
  uint64_t hits = 0;
  void Add(const Counts& more) {
    wanted += more.wanted;
    hits += more.hits;
  }
};

class KernelRun {
 public:
  KernelRun(const KernelCase& test, std::unique_ptr<ObjPool> pool)
      : test_(test),
        pool_(std::move(pool)),
        ledger_(*pool_, test.object_size / sizeof(uint64_t)) {}

  void Run(milliseconds duration) {
    OnSignal(SIGRTMIN, [](int) {
      if (here_ != nullptr) here_->run->Interrupt(*here_);
    });
    const AffinityGuard affinity;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < affinity.count(); ++i) {
      threads.emplace_back([this, cpu = affinity.Nth(i)] { Thread(cpu); });
    }
    started_ = true;
    std::this_thread::sleep_for(duration);
    stop_ = true;
    if (test_.async) {
      // The kernel waits for all CPUs to have seen it.
      while (stopped_ < threads.size()) std::this_thread::yield();
      CHECK(out_ > 0);
      CHECK(pool_->InUse().size() == out_);
      ObjPool::Fini(std::move(pool_));
      ended_ = true;
    }
    for (std::thread& thread : threads) thread.join();
  }

  // Null when the case was async.
  ObjPool* pool() { return pool_.get(); }
  ObjectLedger<ObjPool>& ledger() { return ledger_; }
  // By threads, and by their signal handlers.
  const Counts& normal() const { return normal_; }
  const Counts& interrupt() const { return interrupt_; }

 private:
  struct Worker {
    KernelRun* run;
    Counts normal;
    Counts interrupt;
  };

  void Thread(unsigned cpu) {
    PinTo(cpu);
    while (!started_) std::this_thread::yield();
    Worker worker = {.run = this};
    here_ = &worker;
    {
      std::unique_ptr<SignalStorm> storm;
      if (test_.interrupt_ms != 0) {
        storm = std::make_unique<SignalStorm>(test_.interrupt_ms * 1'000'000);
      }
      while (!stop_) {
        PopAndPush(test_.bulk, test_.delay_ms, worker.normal);
        LetSignalsIn();
      }
      if (test_.async) PopAndPushAtTheEnd(worker.normal);
    }
    here_ = nullptr;
    const std::lock_guard lock(mutex_);
    normal_.Add(worker.normal);
    interrupt_.Add(worker.interrupt);
  }

  void Interrupt(Worker& worker) {
    if (!stop_) PopAndPush(test_.interrupt_bulk, 0, worker.interrupt);
  }

  int Pop(int bulk, void** objects, Counts& counts) {
    int popped = 0;
    for (int i = 0; i < bulk; ++i) {
      objects[popped] = ledger_.Pop();
      if (objects[popped] != nullptr) ++popped;
    }
    counts.wanted += bulk;
    counts.hits += popped;
    return popped;
  }

  void PopAndPush(int bulk, int delay_ms, Counts& counts) {
    void* objects[kMaxBulk];
    int popped = Pop(bulk, objects, counts);
    if (delay_ms != 0) std::this_thread::sleep_for(milliseconds(delay_ms));
    while (popped > 0) ledger_.Push(objects[--popped]);
  }

  // The pool ends while these are out; some are dropped, some pushed.
  void PopAndPushAtTheEnd(Counts& counts) {
    void* objects[kMaxBulk];
    int popped = Pop(test_.bulk, objects, counts);
    out_ += popped;
    ++stopped_;
    while (!ended_) std::this_thread::yield();
    while (popped > 0) {
      void* object = objects[--popped];
      popped % 2 == 0 ? ledger_.Drop(object) : ledger_.Push(object);
    }
  }

  static inline thread_local Worker* here_ = nullptr;

  const KernelCase test_;
  std::unique_ptr<ObjPool> pool_;
  ObjectLedger<ObjPool> ledger_;
  std::atomic<bool> started_{false};
  std::atomic<bool> stop_{false};
  std::atomic<size_t> stopped_{0};
  std::atomic<size_t> out_{0};
  std::atomic<bool> ended_{false};
  std::mutex mutex_;
  Counts normal_;
  Counts interrupt_;
};

// How long each case runs: the kernel's take 1000.
milliseconds Duration() {
  const char* text = std::getenv("RETPROBE_CONFORMANCE_MS");
  return milliseconds(text != nullptr ? std::atoi(text) : 150);
}

struct Lives {
  std::atomic<size_t> initialized{0};
  std::atomic<size_t> finished{0};
  std::atomic<size_t> released{0};
};

ObjPool::Options PoolFor(const KernelCase& test, size_t objects, Lives& lives) {
  return {
      .object_size = test.object_size,
      .object_count = objects,
      .init = [](void*,
                 void* lives) { ++static_cast<Lives*>(lives)->initialized; },
      .fini = [](void*,
                 void* lives) { ++static_cast<Lives*>(lives)->finished; },
      .release = [](void* lives) { ++static_cast<Lives*>(lives)->released; },
      .context = &lives,
  };
}

template <typename Backend>
void Conform(const KernelCase& test) {
  if (!Works(Backend::kBackend)) {
    MESSAGE("skipped: no rseq here");
    return;
  }
  const size_t objects = kObjectsPerCpu * AffinityGuard().count();
  Lives lives;
  ObjPool::Options options = PoolFor(test, objects, lives);
  options.backend = Backend::kBackend;
  {
    KernelRun run(test, MakePool(options));
    CHECK(lives.initialized == objects);
    run.Run(Duration());
    const uint64_t wanted = run.normal().wanted + run.interrupt().wanted;
    const uint64_t hits = run.normal().hits + run.interrupt().hits;
    CHECK(run.normal().hits > 0);
    CHECK((run.interrupt().hits > 0) == (test.interrupt_ms != 0));
    if (test.bulk + test.interrupt_bulk <= kObjectsPerCpu) {
      CHECK(hits == wanted);
    }
    CHECK(!run.ledger().failed());
    if (run.pool() != nullptr) {
      CHECK(run.pool()->GetStats().misses == wanted - hits);
      CHECK(run.pool()->InUse().empty());
      CHECK(run.ledger().CountIdle() == objects);
      CHECK(!run.ledger().failed());
      CHECK(lives.finished == 0);
      CHECK(lives.released == 0);
    }
  }
  CHECK(lives.initialized == objects);
  CHECK(lives.finished == objects);
  CHECK(lives.released == 1);
}

#define KERNEL_CASE(name, ...)                         \
  TEST_CASE_TEMPLATE(name, T, RETPROBE_ALL_BACKENDS) { \
    Conform<T>(__VA_ARGS__);                           \
  }

KERNEL_CASE("sync", {.object_size = kCompact, .bulk = 1})
KERNEL_CASE("sync, large objects", {.object_size = kLarge, .bulk = 1})

KERNEL_CASE("sync, interrupted", {.object_size = kCompact,
                                  .bulk = 1,
                                  .interrupt_bulk = 1,
                                  .interrupt_ms = 4})
KERNEL_CASE("sync, interrupted, large objects", {.object_size = kLarge,
                                                 .bulk = 1,
                                                 .interrupt_bulk = 1,
                                                 .interrupt_ms = 4})

KERNEL_CASE("overrun", {.object_size = kCompact, .bulk = kMaxBulk})
KERNEL_CASE("overrun, large objects", {.object_size = kLarge, .bulk = kMaxBulk})

KERNEL_CASE("async",
            {.object_size = kCompact, .bulk = 1, .delay_ms = 20, .async = true})
KERNEL_CASE("async, large objects",
            {.object_size = kLarge, .bulk = 1, .delay_ms = 20, .async = true})

KERNEL_CASE("async, interrupted", {.object_size = kCompact,
                                   .bulk = 4,
                                   .interrupt_bulk = 4,
                                   .interrupt_ms = 4,
                                   .async = true})
KERNEL_CASE("async, interrupted, large objects", {.object_size = kLarge,
                                                  .bulk = 4,
                                                  .interrupt_bulk = 4,
                                                  .interrupt_ms = 4,
                                                  .async = true})

}  // namespace
}  // namespace retprobe::test
