// SPDX-License-Identifier: Apache-2.0
#include "retprobe/return_probe.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "probe/registry.h"
#include "target.h"

TARGET long plain_add(long a, long b) {
  asm volatile("");
  return a + b;
}

extern "C"
    __attribute__((noinline, noclone, patchable_function_entry(16, 0))) long
    patchable_add(long a, long b) {
  asm volatile("");
  return a + b;
}

TARGET double scale(double x, double y, long times) {
  asm volatile("");
  return x * y * static_cast<double>(times);
}

TARGET long nine(long a, long b, long c, long d, long e, long f, long g,
                 double x, long h) {
  asm volatile("");
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h +
         static_cast<long>(x);
}

TARGET __int128 wide(long a) {
  asm volatile("");
  return (static_cast<__int128>(a) << 64) + 7;
}

TARGET long double precise(long a) {
  asm volatile("");
  return static_cast<long double>(a) / 3;
}

TARGET long nested(long depth) {
  if (depth == 0) return 0;
  long below = nested(depth - 1);
  asm volatile("" : "+r"(below));  // no loop in its place
  return below + 1;
}

TARGET void lingering(std::atomic<bool>& inside,
                      const std::atomic<bool>& leave) {
  inside = true;
  while (!leave) std::this_thread::yield();
}

namespace retprobe {
namespace {

void* Address(auto* function) { return reinterpret_cast<void*>(function); }

size_t Out() { return Registry::Get().InstancesInUse(); }

struct Counted {
  std::atomic<int> entries{0};
  std::atomic<int> returns{0};
  ReturnProbeOptions Options() {
    ReturnProbeOptions options;
    options.entry_handler = [this](EntryContext&) noexcept {
      ++entries;
      return true;
    };
    options.return_handler = [this](ReturnContext&) noexcept { ++returns; };
    return options;
  }
};

TEST_CASE("a probe without handlers leaves the function as it was") {
  for (auto* add : {&plain_add, &patchable_add}) {
    auto probe = ReturnProbe::Attach(Address(add), {});
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
    CHECK(add(2, 3) == 5);
    CHECK(add(-2, 3) == 1);
    CHECK(Out() == 0);
    CHECK(probe->nmissed().total() == 0);
  }
  CHECK(plain_add(2, 3) == 5);
}

TEST_CASE("handlers see arguments and results, and may change both") {
  struct Seen {
    uint64_t entry[2];
    uint64_t saved;
    uint64_t result;
    void* data;
    void* function;
    EndReason reason;
  } seen = {};
  ReturnProbeOptions options;
  options.data_size = 16;
  options.saved_arguments = 1;
  options.entry_handler = [&](EntryContext& context) noexcept {
    seen.entry[0] = context.argument(0);
    seen.entry[1] = context.argument(1);
    seen.data = context.data();
    *static_cast<long*>(context.data()) = 99;
    context.set_argument(1, 40);
    return true;
  };
  options.return_handler = [&](ReturnContext& context) noexcept {
    seen.saved = context.argument(0);
    seen.result = context.result();
    seen.function = context.function();
    seen.reason = context.reason();
    CHECK(context.data() == seen.data);
    CHECK(*static_cast<long*>(context.data()) == 99);
    CHECK(context.argument(1) == 0);
    context.set_result(context.result() + 1000);
  };
  auto probe = ReturnProbe::Attach(Address(&plain_add), std::move(options));
  REQUIRE(probe.ok());
  CHECK(plain_add(2, 3) == 1042);
  CHECK(seen.entry[0] == 2);
  CHECK(seen.entry[1] == 3);
  CHECK(seen.saved == 2);
  CHECK(seen.result == 42);
  CHECK(seen.function == Address(&plain_add));
  CHECK(seen.reason == EndReason::kReturned);
}

TEST_CASE("arguments on the stack and in vector registers can be read") {
  ReturnProbeOptions options;
  uint64_t seventh = 0, eighth = 0;
  double x = 0;
  options.entry_handler = [&](EntryContext& context) noexcept {
    seventh = context.argument(6);
    eighth = context.argument(7);
    x = context.float_argument(0);
    context.set_float_argument(0, 100);
    context.set_argument(7, 1);
    return true;
  };
  auto probe = ReturnProbe::Attach(Address(&nine), std::move(options));
  REQUIRE(probe.ok());
  CHECK(nine(1, 1, 1, 1, 1, 1, 1, 9.5, 5) ==
        1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 100);
  CHECK(seventh == 1);
  CHECK(eighth == 5);
  CHECK(x == 9.5);
}

TEST_CASE("keeping integer arguments leaves vector arguments alone") {
  for (int saved = 0; saved <= 6; ++saved) {
    CAPTURE(saved);
    ReturnProbeOptions options;
    options.saved_arguments = saved;
    // Without vector registers, so that nothing is kept around it.
    options.return_handler = [](ReturnContext&) noexcept {};
    auto probe = ReturnProbe::Attach(Address(&scale), std::move(options));
    REQUIRE(probe.ok());
    CHECK(scale(1.5, 2, 3) == 9.0);
  }
}

TEST_CASE("results of every class pass through") {
  Counted counted;
  auto a = ReturnProbe::Attach(Address(&scale), counted.Options());
  auto b = ReturnProbe::Attach(Address(&wide), counted.Options());
  auto c = ReturnProbe::Attach(Address(&precise), counted.Options());
  REQUIRE(a.ok());
  REQUIRE(b.ok());
  REQUIRE(c.ok());
  CHECK(scale(1.5, 2, 3) == 9.0);
  CHECK(wide(5) == (static_cast<__int128>(5) << 64) + 7);
  CHECK(precise(1) == 1.0L / 3);
  CHECK(counted.returns == 3);
}

TEST_CASE("a floating-point result can be read and changed") {
  ReturnProbeOptions options;
  double seen = 0;
  options.return_handler = [&](ReturnContext& context) noexcept {
    seen = context.float_result();
    context.set_float_result(-1.25);
  };
  auto probe = ReturnProbe::Attach(Address(&scale), std::move(options));
  REQUIRE(probe.ok());
  CHECK(scale(1.5, 2, 3) == -1.25);
  CHECK(seen == 9.0);
}

TEST_CASE("a declined activation has no return") {
  Counted counted;
  ReturnProbeOptions options = counted.Options();
  options.entry_handler = [](EntryContext& context) noexcept {
    return context.argument(0) == 1;
  };
  auto probe = ReturnProbe::Attach(Address(&plain_add), std::move(options));
  REQUIRE(probe.ok());
  CHECK(plain_add(1, 1) == 2);
  CHECK(plain_add(2, 1) == 3);
  CHECK(counted.returns == 1);
  CHECK(Out() == 0);
}

TEST_CASE("several probes on one function each have their data and their end") {
  std::string order;
  const auto options = [&](char name) {
    ReturnProbeOptions result;
    result.data_size = 40;
    result.entry_handler = [&order, name](EntryContext& context) noexcept {
      *static_cast<char*>(context.data()) = name;
      order += name;
      return true;
    };
    result.return_handler = [&order](ReturnContext& context) noexcept {
      order += *static_cast<char*>(context.data());
    };
    return result;
  };
  auto a = ReturnProbe::Attach(Address(&plain_add), options('a'));
  auto b = ReturnProbe::Attach(Address(&plain_add), options('b'));
  auto c = ReturnProbe::Attach(Address(&plain_add), options('c'));
  REQUIRE(c.ok());
  plain_add(1, 2);
  CHECK(order == "abccba");
  order.clear();
  b->Disable();
  plain_add(1, 2);
  CHECK(order == "acca");
  order.clear();
  b->Enable();
  a->Detach();
  plain_add(1, 2);
  CHECK(order == "bccb");
}

TEST_CASE("a handler that calls probed functions is not probed itself") {
  Counted counted;
  auto inner = ReturnProbe::Attach(Address(&patchable_add), counted.Options());
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext& context) noexcept {
    context.set_result(patchable_add(context.result(), 10));
  };
  auto outer = ReturnProbe::Attach(Address(&plain_add), std::move(options));
  REQUIRE(outer.ok());
  CHECK(plain_add(1, 2) == 13);
  CHECK(counted.returns == 0);
  CHECK(inner->nmissed().recursion == 1);
  CHECK(patchable_add(1, 2) == 3);
  CHECK(counted.returns == 1);
}

TEST_CASE("maxactive bounds the activations and counts the rest") {
  Counted counted;
  ReturnProbeOptions options = counted.Options();
  options.maxactive = 3;
  auto probe = ReturnProbe::Attach(Address(&nested), std::move(options));
  REQUIRE(probe.ok());
  CHECK(nested(9) == 9);
  CHECK(counted.entries == 3);
  CHECK(counted.returns == 3);
  CHECK(probe->nmissed().empty == 7);
  CHECK(nested(1) == 1);
  CHECK(counted.returns == 5);
}

TEST_CASE("recursion 100,000 deep misses nothing") {
  Counted counted;
  auto probe = ReturnProbe::Attach(Address(&nested), counted.Options());
  REQUIRE(probe.ok());
  std::thread([] {
    // A stack of its own: frames are larger than the recursion's alone.
    CHECK(nested(10000) == 10000);
  }).join();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, size_t{256} << 20);
  pthread_t thread;
  pthread_create(
      &thread, &attributes,
      [](void*) -> void* { return reinterpret_cast<void*>(nested(100000)); },
      nullptr);
  void* result = nullptr;
  pthread_join(thread, &result);
  CHECK(reinterpret_cast<long>(result) == 100000);
  CHECK(counted.returns == 100001 + 10001);
  CHECK(probe->nmissed().total() == 0);
  CHECK(Out() == 0);
}

TEST_CASE("what handlers hold is let go by Detach, also in mid-activation") {
  static std::atomic<bool> inside, leave;
  inside = leave = false;
  auto held = std::make_shared<int>(1);
  ReturnProbeOptions options;
  options.entry_handler = [held](EntryContext&) noexcept { return *held == 1; };
  options.return_handler = [held](ReturnContext&) noexcept { ++*held; };
  auto probe = ReturnProbe::Attach(Address(&lingering), std::move(options));
  REQUIRE(probe.ok());
  std::thread caller([] { lingering(inside, leave); });
  while (!inside) std::this_thread::yield();
  CHECK(held.use_count() == 3);
  probe->Detach();
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
  auto probe = ReturnProbe::Attach(Address(&plain_add), std::move(options));
  REQUIRE(probe.ok());
  self = &*probe;
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
// what is on top of the CPU's magazine.
TEST_CASE("Detach waits for a handler on the instance its caller had last") {
  OnOneCpu one_cpu;
  std::atomic<bool> block{false}, inside{false}, release{false}, done{false};
  std::atomic<void*> instance{nullptr};
  ReturnProbeOptions options;
  options.data_size = 16;
  options.entry_handler = [&](EntryContext& context) noexcept {
    void* const before = instance.exchange(context.data());
    if (!block) return true;
    CHECK(context.data() == before);
    inside = true;
    while (!release) std::this_thread::yield();
    done = true;
    return true;
  };
  auto probe = ReturnProbe::Attach(Address(&plain_add), std::move(options));
  REQUIRE(probe.ok());
  // The first may find the magazine empty and fill it on its way.
  for (int i = 0; i < 2; ++i) CHECK(plain_add(1, 2) == 3);
  block = true;
  std::thread caller([] { CHECK(plain_add(2, 3) == 5); });
  while (!inside) std::this_thread::yield();
  std::thread releaser([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    release = true;
  });
  probe->Detach();
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
    auto probe = ReturnProbe::Attach(Address(&plain_add), std::move(options));
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

TEST_CASE("bad options are refused by name") {
  ReturnProbeOptions options;
  options.data_size = size_t{1} << 30;
  auto probe = ReturnProbe::Attach(Address(&plain_add), std::move(options));
  CHECK(probe.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(probe.status().message().find("data_size") != std::string::npos);
  options = {};
  options.saved_arguments = 7;
  CHECK(!ReturnProbe::Attach(Address(&plain_add), std::move(options)).ok());
  options = {};
  options.maxactive = -1;
  CHECK(!ReturnProbe::Attach(Address(&plain_add), std::move(options)).ok());
}

TEST_CASE("a function is found by symbol") {
  Counted counted;
  auto probe = ReturnProbe::Attach("libc.so.6:labs", counted.Options());
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  long (*volatile call)(long) = &labs;
  CHECK(call(-5) == 5);
  CHECK(counted.returns == 1);
  auto unknown = ReturnProbe::Attach("libc.so.6:labz", counted.Options());
  CHECK(unknown.status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("a function that returns twice is refused") {
  auto probe = ReturnProbe::Attach("libc.so.6:vfork", {});
  CHECK(probe.status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a handler may use the registry while its probe is detached") {
  static std::atomic<int> stage;
  static ReturnProbe* other;
  stage = 0;
  auto second = ReturnProbe::Attach(Address(&patchable_add), {});
  REQUIRE(second.ok());
  other = &*second;
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    stage = 1;
    // Time for Detach to begin waiting.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(other->nmissed().total() == 0);
    stage = 2;
  };
  auto probe = ReturnProbe::Attach(Address(&plain_add), std::move(options));
  REQUIRE(probe.ok());
  std::thread caller([] { plain_add(1, 2); });
  while (stage != 1) std::this_thread::yield();
  probe->Detach();
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
  auto probe = ReturnProbe::Attach(Address(&plain_add), std::move(options));
  REQUIRE(probe.ok());
  std::thread caller([] { plain_add(1, 2); });
  while (!inside) std::this_thread::yield();
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // ends a child that waits for a thread it does not have
    probe->Detach();
    _exit(plain_add(1, 2) == 3 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  leave = true;
  caller.join();
}

// A busy machine may not let a thread answer in time; nothing has changed then.
absl::StatusOr<ReturnProbe> AttachPatiently(void* function, Counted& counted) {
  auto probe = ReturnProbe::Attach(function, counted.Options());
  for (int i = 0; i < 4 && absl::IsUnavailable(probe.status()); ++i) {
    probe = ReturnProbe::Attach(function, counted.Options());
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
  Counted counted;
  for (int i = 0; i < 200; ++i) {
    auto a = AttachPatiently(Address(&plain_add), counted);
    REQUIRE_MESSAGE(a.ok(), a.status().ToString());
    auto b = AttachPatiently(Address(&patchable_add), counted);
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
