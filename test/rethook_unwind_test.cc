// SPDX-License-Identifier: Apache-2.0
//
// Hooked frames that are unwound, or looked at by unwinders: part of
// rethook_flow_test, which is linked with each unwinder in turn.
#include <doctest/doctest.h>
#include <execinfo.h>
#include <pthread.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "hooking.h"

namespace {

thread_local int t_destroyed;
std::atomic<int> g_destroyed{0};
struct Local {
  ~Local() {
    ++t_destroyed;
    ++g_destroyed;
  }
};

}  // namespace

TARGET long thrower(long x) {
  RETPROBE_TEST_ENTER();
  if (x > 3) throw std::runtime_error("boom");
  return x;
}

TARGET long passer(long depth) {
  RETPROBE_TEST_ENTER();
  Local local;
  asm volatile("");
  return depth == 0 ? thrower(9) + 1 : passer(depth - 1) + 1;
}

TARGET long rethrower(long x) {
  RETPROBE_TEST_ENTER();
  try {
    return thrower(x) + 1;
  } catch (const std::exception&) {
    throw;
  }
}

// Throws and catches while it is being unwound itself.
struct Nested {
  ~Nested() {
    try {
      thrower(5);
    } catch (const std::exception&) {
      ++t_destroyed;
    }
  }
};

TARGET long nesting(long x) {
  RETPROBE_TEST_ENTER();
  Nested nested;
  return thrower(x) + 1;
}

TARGET long leaver(long depth) {
  RETPROBE_TEST_ENTER();
  Local local;
  if (depth < 0) return 0;
  if (depth == 0) pthread_exit(nullptr);
  return leaver(depth - 1) + 1;
}

std::atomic<int> g_cancelable{0};
TARGET long canceled(long depth) {
  RETPROBE_TEST_ENTER();
  Local local;
  if (depth < 0) return 0;
  if (depth > 0) return canceled(depth - 1) + 1;
  ++g_cancelable;
  for (;;) pthread_testcancel();
}

TARGET int tracer(void** frames, int size) {
  RETPROBE_TEST_ENTER();
  return backtrace(frames, size) + 0 * printf("%s", "");
}

TARGET int trace_caller(void** frames, int size) {
  RETPROBE_TEST_ENTER();
  const int n = tracer(frames, size);
  asm volatile("");
  return n;
}

TARGET long tail_thrower(long n) {
  RETPROBE_TEST_ENTER();
  return n == 0 ? thrower(9) : tail_thrower(n - 1);
}

// Not in a loop of its own.
TARGET long tail_starter(long n) {
  RETPROBE_TEST_ENTER();
  return tail_thrower(n);
}

TARGET long looked_at(long x) {
  RETPROBE_TEST_ENTER();
  return x + 1;
}

namespace retprobe {
namespace {

using test::ForStoragesAndCounts;
using test::ForStoragesAndThreads;
using test::Hooking;
using test::Storage;

template <typename F>
bool Throws(F f) {
  try {
    f();
  } catch (const std::exception&) {
    return true;
  }
  return false;
}

TEST_CASE("an exception reaches the direct caller of a hooked function") {
  std::atomic<int> wrong{0};
  ForStoragesAndThreads([&](Hooking& hooking) {
    for (int i = 0; i < 200; ++i) {
      wrong += Throws([] { thrower(1); });
      wrong += !Throws([] { thrower(5); });
    }
    CHECK(hooking.unwound() > 0);
  });
  CHECK(wrong == 0);
}

TEST_CASE("an exception passes many hooked frames and runs destructors") {
  std::atomic<int> wrong{0};
  ForStoragesAndThreads([&](Hooking&) {
    t_destroyed = 0;
    for (int i = 0; i < 20; ++i) wrong += !Throws([] { passer(20); });
    wrong += t_destroyed != 20 * 21;
  });
  CHECK(wrong == 0);
}

TEST_CASE("an exception can be rethrown, and others thrown meanwhile") {
  std::atomic<int> wrong{0};
  ForStoragesAndThreads([&](Hooking&) {
    t_destroyed = 0;
    for (int i = 0; i < 50; ++i) {
      wrong += !Throws([] { rethrower(9); });
      wrong += !Throws([] { nesting(9); });
    }
    wrong += t_destroyed != 50;
  });
  CHECK(wrong == 0);
}

TEST_CASE("an exception passes a chain of hooked tail calls") {
  std::atomic<int> wrong{0};
  ForStoragesAndThreads([&](Hooking&) {
    for (int i = 0; i < 50; ++i) {
      wrong += !Throws([] { tail_starter(10); });
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("100,000 throws bring every instance back") {
  Hooking hooking(Storage::kPool);
  int caught = 0;
  for (int i = 0; i < 100000; ++i) caught += Throws([] { thrower(5); });
  CHECK(caught == 100000);
  CHECK(hooking.unwound() == 100000);
}

// Threads that end in ways which std::thread would not survive.
std::vector<pthread_t> Start(int count, void* (*run)(void*)) {
  std::vector<pthread_t> threads(count);
  for (pthread_t& thread : threads) {
    pthread_create(&thread, nullptr, run, nullptr);
  }
  return threads;
}

void JoinAll(const std::vector<pthread_t>& threads) {
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
}

TEST_CASE("pthread_exit leaves through hooked frames") {
  ForStoragesAndCounts([&](Storage storage, int count) {
    Hooking hooking(storage);
    g_destroyed = 0;
    const auto threads = Start(count, [](void*) -> void* {
      Local local;
      leaver(10);
      return nullptr;
    });
    JoinAll(threads);
    CHECK(g_destroyed == 12 * count);
    CHECK(hooking.unwound() == 11 * count);
  });
}

TEST_CASE("threads can be cancelled in hooked functions") {
  ForStoragesAndCounts([&](Storage storage, int count) {
    Hooking hooking(storage);
    g_destroyed = 0;
    g_cancelable = 0;
    const auto threads = Start(count, [](void*) -> void* {
      canceled(3);
      return nullptr;
    });
    while (g_cancelable < count) sched_yield();
    for (const pthread_t thread : threads) pthread_cancel(thread);
    JoinAll(threads);
    CHECK(g_destroyed == 4 * count);
    CHECK(hooking.unwound() == 4 * count);
  });
}

TEST_CASE("backtrace sees through slots to the same callers") {
  void* plain[64];
  const int n = trace_caller(plain, 64);
  for (const Storage storage : test::kStorages) {
    Hooking hooking(storage);
    void* hooked[64];
    const int m = trace_caller(hooked, 64);
    REQUIRE(m == n + 2);  // a slot for each hooked frame
    for (int i = 1; i < n - 2; ++i) CHECK(plain[n - i] == hooked[m - i]);
    // Who cannot unwind through slots can ask.
    int slots = 0;
    for (int i = 0; i < m; ++i) {
      slots += Rethook::FindReturnAddress(hooked[i]) != hooked[i];
    }
    CHECK(slots == 2);
  }
}

TEST_CASE("a handler can be looked at by backtrace, too") {
  static void* seen[64];
  static int depth;
  Rethook::Options options;
  options.return_handler = [](ReturnContext&) noexcept {
    depth = backtrace(seen, 64);
  };
  auto rethook = Rethook::Create(std::move(options));
  REQUIRE(rethook.ok());
  void* plain[64];
  const int n = backtrace(plain, 64);
  test::g_rethook = rethook->get();
  looked_at(1);
  test::g_rethook = nullptr;
  REQUIRE(depth > n);
  for (int i = 1; i < n - 1; ++i) CHECK(plain[n - i] == seen[depth - i]);
}

}  // namespace
}  // namespace retprobe
