// SPDX-License-Identifier: Apache-2.0
//
// Frames of probed functions that end otherwise than by a return.
#include <doctest/doctest.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>

#include "probe/registry.h"
#include "retprobe/return_probe.h"

namespace {

std::atomic<int> g_destroyed;
struct Local {
  ~Local() { ++g_destroyed; }
};

}  // namespace

extern "C" __attribute__((noinline, noclone)) long thrower(long x) {
  if (x > 3) throw std::runtime_error("boom");
  return x;
}

extern "C" __attribute__((noinline, noclone)) long passer(long depth) {
  Local local;
  asm volatile("");
  return depth == 0 ? thrower(9) + 1 : passer(depth - 1) + 1;
}

extern "C" __attribute__((noinline, noclone)) long rethrower(long x) {
  try {
    return thrower(x) + 1;
  } catch (const std::exception&) {
    throw;
  }
}

extern "C" __attribute__((noinline, noclone)) long leaver(long x) {
  if (x != 0) pthread_exit(nullptr);
  return 1;
}

extern "C" __attribute__((noinline, noclone)) long canceled(long x) {
  Local local;
  for (;;) pthread_testcancel();
  return x;
}

extern "C" __attribute__((noinline, noclone)) int tracer(void** frames,
                                                         int size) {
  return backtrace(frames, size) + 0 * printf("%s", "");
}

extern "C" __attribute__((noinline, noclone)) int trace_caller(void** frames,
                                                               int size) {
  const int n = tracer(frames, size);
  asm volatile("");
  return n;
}

extern "C" __attribute__((noinline, noclone)) long counted_in_signal(long x) {
  asm volatile("");
  return x + 1;
}

namespace retprobe {
namespace {

struct Ends {
  std::atomic<int> entered{0};
  std::atomic<int> returned{0};
  std::atomic<int> unwound{0};
  ReturnProbe Attach(auto* function) {
    ReturnProbeOptions options;
    options.entry_handler = [this](EntryContext&) noexcept {
      ++entered;
      return true;
    };
    options.return_handler = [this](ReturnContext& context) noexcept {
      ++(context.reason() == EndReason::kReturned ? returned : unwound);
    };
    auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(function),
                                     std::move(options));
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
    return *std::move(probe);
  }
};

size_t Out() { return Registry::Get().InstancesInUse(); }

TEST_CASE("an exception reaches the direct caller of a probed function") {
  Ends ends;
  const ReturnProbe probe = ends.Attach(&thrower);
  std::string what;
  try {
    thrower(1);
    thrower(5);
  } catch (const std::exception& e) {
    what = e.what();
  }
  CHECK(what == "boom");
  CHECK(ends.returned == 1);
  CHECK(ends.unwound == 1);
  CHECK(Out() == 0);
}

TEST_CASE("100,000 throws bring every instance back") {
  Ends ends;
  const ReturnProbe probe = ends.Attach(&thrower);
  int caught = 0;
  for (int i = 0; i < 100000; ++i) {
    try {
      thrower(5);
    } catch (...) {
      ++caught;
    }
  }
  CHECK(caught == 100000);
  CHECK(ends.unwound == 100000);
  CHECK(Out() == 0);
}

TEST_CASE("an exception passes many probed frames and runs destructors") {
  Ends ends;
  const ReturnProbe a = ends.Attach(&passer);
  const ReturnProbe b = ends.Attach(&thrower);
  g_destroyed = 0;
  bool caught = false;
  try {
    passer(20);
  } catch (const std::exception&) {
    caught = true;
  }
  CHECK(caught);
  CHECK(g_destroyed == 21);
  CHECK(ends.unwound == 22);
  CHECK(ends.entered == 22);
  CHECK(Out() == 0);
}

TEST_CASE("an exception can be rethrown through probed frames") {
  Ends ends;
  const ReturnProbe a = ends.Attach(&rethrower);
  const ReturnProbe b = ends.Attach(&thrower);
  bool caught = false;
  try {
    rethrower(9);
  } catch (const std::exception&) {
    caught = true;
  }
  CHECK(caught);
  CHECK(ends.unwound == 2);
  CHECK(Out() == 0);
}

TEST_CASE("pthread_exit leaves through probed frames") {
  Ends ends;
  const ReturnProbe probe = ends.Attach(&leaver);
  g_destroyed = 0;
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        Local local;
        leaver(0);
        leaver(1);
        return nullptr;
      },
      nullptr);
  pthread_join(thread, nullptr);
  CHECK(g_destroyed == 1);
  CHECK(ends.returned == 1);
  CHECK(ends.unwound == 1);
  CHECK(Out() == 0);
}

TEST_CASE("a thread can be cancelled inside a probed function") {
  Ends ends;
  const ReturnProbe probe = ends.Attach(&canceled);
  g_destroyed = 0;
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        Local local;
        canceled(0);
        return nullptr;
      },
      nullptr);
  while (ends.entered == 0) sched_yield();
  pthread_cancel(thread);
  pthread_join(thread, nullptr);
  CHECK(g_destroyed == 2);
  CHECK(ends.unwound == 1);
  CHECK(Out() == 0);
}

TEST_CASE("backtrace sees through the trampoline to the same callers") {
  void* plain[64];
  const int n = trace_caller(plain, 64);
  Ends ends;
  const ReturnProbe a = ends.Attach(&tracer);
  const ReturnProbe b = ends.Attach(&trace_caller);
  void* probed[64];
  const int m = trace_caller(probed, 64);
  CHECK(m == n + 2);  // the trampoline shows once for each probed frame
  // The outermost frames are the same, from the caller's caller on.
  for (int i = 1; i < n - 2; ++i) CHECK(plain[n - i] == probed[m - i]);
  CHECK(ends.returned == 2);
}

TEST_CASE("probed functions called in a storm of signals end exactly once") {
  static Ends ends;
  const ReturnProbe probe = ends.Attach(&counted_in_signal);
  static std::atomic<long> in_signal;
  struct sigaction action = {};
  action.sa_handler = [](int) {
    ++in_signal;
    counted_in_signal(1);
  };
  sigaction(SIGALRM, &action, nullptr);
  itimerval timer = {{0, 200}, {0, 200}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  long calls = 0;
  long wrong = 0;
  while (std::chrono::steady_clock::now() < end) {
    for (long i = 0; i < 1000; ++i, ++calls) {
      if (counted_in_signal(i) != i + 1) ++wrong;
    }
  }
  timer = {};
  setitimer(ITIMER_REAL, &timer, nullptr);
  CHECK(wrong == 0);
  CHECK(in_signal > 100);
  CHECK(ends.entered == ends.returned);
  CHECK(ends.entered + static_cast<long>(probe.nmissed().recursion) ==
        calls + in_signal);
  CHECK(Out() == 0);
}

}  // namespace
}  // namespace retprobe
