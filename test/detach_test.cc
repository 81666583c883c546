// SPDX-License-Identifier: Apache-2.0
//
// How probes end while their functions are called; part of return_probe_test.
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "ends.h"

// return_probe_test.cc
TARGET long plain_add(long a, long b);
TARGET long patchable_add(long a, long b);

TARGET void lingering(std::atomic<bool>& inside,
                      const std::atomic<bool>& leave) {
  inside = true;
  while (!leave) std::this_thread::yield();
}

namespace retprobe {
namespace {

TEST_CASE("what handlers hold is let go by Detach, also in mid-activation") {
  static std::atomic<bool> inside, leave;
  inside = leave = false;
  auto held = std::make_shared<int>(1);
  ReturnProbeOptions options;
  options.entry_handler = [held](EntryContext&) noexcept { return *held == 1; };
  options.return_handler = [held](ReturnContext&) noexcept { ++*held; };
  ReturnProbe probe = Attached(&lingering, std::move(options));
  std::thread caller([] { lingering(inside, leave); });
  while (!inside) std::this_thread::yield();
  CHECK(held.use_count() == 3);
  probe.Detach();
  CHECK(held.use_count() == 1);
  leave = true;
  caller.join();
  CHECK(*held == 1);
  CHECK(Out() == 0);
}

TEST_CASE("a probe of its own can be detached from its handler") {
  static ReturnProbe* self;
  static int calls;
  calls = 0;
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    ++calls;
    self->Detach();
  };
  ReturnProbe probe = Attached(&plain_add, std::move(options));
  self = &probe;
  CHECK(plain_add(1, 2) == 3);
  CHECK(plain_add(1, 2) == 3);
  CHECK(calls == 1);
  CHECK(Out() == 0);
}

// Keeps the calling thread, and those that it starts, on one CPU.
class OnOneCpu {
 public:
  OnOneCpu() {
    sched_getaffinity(0, sizeof(before_), &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof(one), &one);
  }
  ~OnOneCpu() { sched_setaffinity(0, sizeof(before_), &before_); }

 private:
  cpu_set_t before_;
};

// The caller's own last handler ran on the instance that the other thread gets:
// what is on top of the CPU's magazine. Spares, without rseq, are taken in
// turn.
TEST_CASE("Detach waits for a handler on the instance its caller had last") {
  OnOneCpu one_cpu;
  std::atomic<bool> block{false}, inside{false}, release{false}, done{false};
  std::atomic<void*> instance{nullptr};
  ReturnProbeOptions options;
  options.data_size = 16;
  options.entry_handler = [&](EntryContext& context) noexcept {
    void* const before = instance.exchange(context.data());
    if (!block) return true;
    if (RseqAvailable()) CHECK(context.data() == before);
    inside = true;
    while (!release) std::this_thread::yield();
    done = true;
    return true;
  };
  ReturnProbe probe = Attached(&plain_add, std::move(options));
  // The first may find the magazine empty and fill it on its way.
  for (int i = 0; i < 2; ++i) CHECK(plain_add(1, 2) == 3);
  block = true;
  std::thread caller([] { CHECK(plain_add(2, 3) == 5); });
  while (!inside) std::this_thread::yield();
  std::thread releaser([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    release = true;
  });
  probe.Detach();
  CHECK(done.load());
  caller.join();
  releaser.join();
}

TEST_CASE("no handler runs once Detach has returned") {
  struct Watch {
    std::atomic<bool> stop{false};
    std::atomic<bool> gone{false};
    std::atomic<long> seen{0};
    std::atomic<long> late{0};
    void Look() {
      for (int i = 0; i < 30; ++i) asm volatile("");
      seen.fetch_add(1, std::memory_order_relaxed);
      // relaxed: a load like any other of what Detach lets go
      if (gone.load(std::memory_order_relaxed)) ++late;
    }
  } watch;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!watch.stop) plain_add(1, 2);
    });
  }
  int rounds = 0;
  for (int i = 0; i < 60; ++i) {
    ReturnProbeOptions options;
    options.return_handler = [&](ReturnContext&) noexcept { watch.Look(); };
    if (i % 2 != 0) {  // the way through C++, not only the trampoline's own
      options.saved_arguments = 1;
    }
    watch.gone = false;
    auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&plain_add),
                                     std::move(options));
    // On a busy machine a thread may not answer in time.
    if (absl::IsUnavailable(probe.status())) continue;
    CHECK_MESSAGE(probe.ok(), probe.status().ToString());
    if (!probe.ok()) break;
    ++rounds;
    for (long from = watch.seen; watch.seen < from + 100;) sched_yield();
    probe->Detach();
    watch.gone = true;
    if (i % 4 == 0) sched_yield();
  }
  watch.stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(watch.late.load() == 0);
  CHECK(rounds > 0);
}

TEST_CASE("a handler may use the registry while its probe is detached") {
  static std::atomic<int> stage;
  static ReturnProbe* other;
  stage = 0;
  ReturnProbe second = Attached(&patchable_add, {});
  other = &second;
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    stage = 1;
    // Time for Detach to begin waiting.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(other->nmissed().total() == 0);
    stage = 2;
  };
  ReturnProbe probe = Attached(&plain_add, std::move(options));
  std::thread caller([] { plain_add(1, 2); });
  while (stage != 1) std::this_thread::yield();
  probe.Detach();
  CHECK(stage == 2);
  caller.join();
}

TEST_CASE("a child can detach a probe whose handler ran in another thread") {
  static std::atomic<bool> inside;
  static std::atomic<bool> leave;
  inside = leave = false;
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    inside = true;
    while (!leave) std::this_thread::yield();
  };
  ReturnProbe probe = Attached(&plain_add, std::move(options));
  std::thread caller([] { plain_add(1, 2); });
  while (!inside) std::this_thread::yield();
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // ends a child that waits for a thread it does not have
    probe.Detach();
    _exit(plain_add(1, 2) == 3 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  leave = true;
  caller.join();
}

// A busy machine may not let a thread answer in time; nothing has changed then.
absl::StatusOr<ReturnProbe> AttachPatiently(void* function, Ends& ends) {
  auto probe = ReturnProbe::Attach(function, ends.Options());
  for (int i = 0; i < 4 && absl::IsUnavailable(probe.status()); ++i) {
    probe = ReturnProbe::Attach(function, ends.Options());
  }
  return probe;
}

TEST_CASE("probes come and go under threads that call without pause") {
  std::atomic<bool> stop{false};
  std::atomic<long> calls{0};
  std::atomic<long> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      long n = 0;
      while (!stop.load(std::memory_order_relaxed)) {
        if (plain_add(n, 1) != n + 1) ++wrong;
        if (patchable_add(n, 2) != n + 2) ++wrong;
        ++n;
      }
      calls += n;
    });
  }
  Ends ends;
  for (int i = 0; i < 200; ++i) {
    auto a = AttachPatiently(reinterpret_cast<void*>(&plain_add), ends);
    REQUIRE_MESSAGE(a.ok(), a.status().ToString());
    auto b = AttachPatiently(reinterpret_cast<void*>(&patchable_add), ends);
    REQUIRE_MESSAGE(b.ok(), b.status().ToString());
    if (i % 8 == 0) std::this_thread::yield();
    a->Detach();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(calls > 0);
  CHECK(Out() == 0);
}

}  // namespace
}  // namespace retprobe
