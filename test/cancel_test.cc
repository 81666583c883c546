// SPDX-License-Identifier: Apache-2.0
//
// Threads that are cancelled, or jump out of signal handlers, anywhere.
#include <doctest/doctest.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "ends.h"

extern "C" __attribute__((noinline, noclone)) long stormed(long depth) {
  asm volatile("" : "+r"(depth));
  if (depth == 1) return 1;
  const long below = stormed(depth - 1);
  asm volatile("");
  return below + 1;
}

extern "C" __attribute__((noinline, noclone)) long tested(long x) {
  pthread_testcancel();
  asm volatile("" : "+r"(x));
  return x;
}

namespace retprobe {
namespace {

void Wait(long nanoseconds) {
  const timespec time = {0, nanoseconds};
  nanosleep(&time, nullptr);
}

struct Victim {
  int type;
  std::atomic<bool> ready{false};
  long calls = 0;
};

void* Call(void* argument) {
  auto& victim = *static_cast<Victim*>(argument);
  pthread_setcanceltype(victim.type, nullptr);
  victim.ready = true;
  for (;;) {
    stormed(5);
    if (victim.type == PTHREAD_CANCEL_DEFERRED) tested(1);
  }
}

void CancelOne(int type, long after) {
  Victim victim = {type};
  pthread_t thread;
  REQUIRE(pthread_create(&thread, nullptr, &Call, &victim) == 0);
  while (!victim.ready) sched_yield();
  if (after > 0) Wait(after);
  pthread_cancel(thread);
  void* result = nullptr;
  pthread_join(thread, &result);
  CHECK(result == PTHREAD_CANCELED);
}

TEST_CASE("threads cancelled anywhere bring every instance back") {
  for (const int type :
       {PTHREAD_CANCEL_DEFERRED, PTHREAD_CANCEL_ASYNCHRONOUS}) {
    for (const int threads : {1, 2, 8}) {
      CAPTURE(type);
      CAPTURE(threads);
      Ends ends;
      ReturnProbe a = Attached(&stormed, ends.Options());
      ReturnProbe b = Attached(&tested, ends.Options());
      const int times = 96 / threads;
      InThreads(threads, [&] {
        for (int i = 0; i < times; ++i) CancelOne(type, 1000 * (i % 50));
      });
      // At most one handler of each thread was left before or after it counted.
      const long uncounted = ends.entered - ends.ended();
      CHECK(uncounted >= 0);
      CHECK(uncounted <=
            (type == PTHREAD_CANCEL_DEFERRED ? 0 : times * threads));
      CHECK(ends.unwound > 0);
      CHECK(ends.abandoned == 0);
      CHECK(Out() == 0);
    }
  }
}

thread_local sigjmp_buf g_home;
thread_local volatile bool g_inside;

// Calls until signals have thrown it back `times` times.
__attribute__((noinline)) void CallUntilJumpedBack(volatile int* jumps,
                                                   int times) {
  if (sigsetjmp(g_home, 1) != 0) *jumps = *jumps + 1;
  while (*jumps < times) {
    g_inside = true;
    for (int i = 0; i < 100; ++i) stormed(5);
    g_inside = false;
  }
}

TEST_CASE("signal handlers that jump from anywhere leave no instance out") {
  struct sigaction action = {};
  action.sa_handler = [](int) {
    if (!g_inside) return;
    g_inside = false;
    siglongjmp(g_home, 1);
  };
  sigaction(SIGUSR1, &action, nullptr);
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    const ReturnProbe probe = Attached(&stormed, ends.Options());
    const int times = 2400 / threads;
    InThreads(threads, [&] {
      struct Target {
        pthread_t thread = pthread_self();
        std::atomic<bool> done{false};
      } target;
      std::thread sender([&] {
        while (!target.done) {
          pthread_kill(target.thread, SIGUSR1);
          Wait(20000);
        }
      });
      volatile int jumps = 0;
      CallUntilJumpedBack(&jumps, times);
      target.done = true;
      sender.join();
    });
    const long uncounted = ends.entered - ends.ended();
    CHECK(uncounted >= 0);
    CHECK(uncounted <= times * threads);
    CHECK(ends.abandoned > 0);
    CHECK(Out() == 0);
    const long before = ends.returned;
    CHECK(stormed(5) == 5);
    CHECK(ends.returned == before + 5);
  }
}

}  // namespace
}  // namespace retprobe
