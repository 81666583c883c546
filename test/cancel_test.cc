// SPDX-License-Identifier: Apache-2.0
//
// Threads that are cancelled, or jump out of signal handlers, anywhere.
#include <doctest/doctest.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "ends.h"
#include "exact_ends.h"

namespace {

thread_local sigjmp_buf g_home;
constexpr long kJump = -3;  // where calls from -1 downwards jump home

}  // namespace

extern "C" __attribute__((noinline, noclone)) long stormed(long depth) {
  asm volatile("" : "+r"(depth));
  if (depth == 1) return 1;
  if (depth == kJump) siglongjmp(g_home, 1);
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

// What a signal handler tells that leaves what it interrupted.
std::atomic<ExactEnds*> g_ends[2];

void TellLeaving(void* context) {
  for (const std::atomic<ExactEnds*>& ends : g_ends) {
    if (ends != nullptr) ends.load()->Leave(context);
  }
}

void CheckExact(const ExactEnds& ends) {
  CAPTURE(ends.entered());
  CAPTURE(ends.returned());
  CAPTURE(ends.unwound());
  CAPTURE(ends.abandoned());
  CAPTURE(ends.declined());
  CAPTURE(ends.heard());
  CHECK(ends.entered() == ends.ended());
  CHECK(Out() == 0);
}

void Wait(long nanoseconds) {
  const timespec time = {0, nanoseconds};
  nanosleep(&time, nullptr);
}

// Puts us in front of what glibc does for the signal that it cancels threads
// with, which sigaction does not let anybody see.
struct KernelAction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void (*restorer)();
  unsigned long mask;
};
constexpr int kCancelSignal = 32;
KernelAction g_cancel_action;

void OnCancel(int signal, siginfo_t* info, void* context) {
  TellLeaving(context);
  g_cancel_action.handler(signal, info, context);
}

void WatchCancellation() {
  if (g_cancel_action.handler != nullptr) return;
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        for (;;) pause();
      },
      nullptr);
  pthread_cancel(thread);  // now glibc has a handler
  pthread_join(thread, nullptr);
  REQUIRE(syscall(SYS_rt_sigaction, kCancelSignal, nullptr, &g_cancel_action,
                  sizeof(g_cancel_action.mask)) == 0);
  KernelAction ours = g_cancel_action;
  ours.handler = &OnCancel;
  REQUIRE(syscall(SYS_rt_sigaction, kCancelSignal, &ours, nullptr,
                  sizeof(ours.mask)) == 0);
}

struct Victim {
  int type;
  std::atomic<bool> ready{false};
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
  WatchCancellation();
  for (const int type :
       {PTHREAD_CANCEL_DEFERRED, PTHREAD_CANCEL_ASYNCHRONOUS}) {
    for (const int threads : {1, 2, 8}) {
      CAPTURE(type);
      CAPTURE(threads);
      ExactEnds ends;
      const bool leaves = type == PTHREAD_CANCEL_ASYNCHRONOUS;
      g_ends[0] = leaves ? &ends : nullptr;
      ReturnProbe a = Attached(&stormed, ends.Options());
      ReturnProbe b = Attached(&tested, ends.Options());
      const int times = 96 / threads;
      InThreads(threads, [&] {
        for (int i = 0; i < times; ++i) CancelOne(type, 1000 * (i % 50));
      });
      g_ends[0] = nullptr;
      CheckExact(ends);
      CHECK(ends.unwound() > 0);
      CHECK(ends.abandoned() == 0);
    }
  }
}

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

void OnSignal(void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, nullptr);
}

// Interrupts each of `threads` that call until `times` jumps have been made.
void Storm(int threads, int times) {
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
}

// Probes on `stormed`, of every way in which handlers are run.
enum class Kind { kLeaf, kVectors, kSeveral, kLimited, kLast = kLimited };

std::vector<ReturnProbe> AttachStormed(Kind kind, ExactEnds (&ends)[2]) {
  ReturnProbeOptions first = ends[0].Options<0>();
  if (kind == Kind::kVectors) first = ends[0].Options<0, true>();
  if (kind == Kind::kLimited) {
    first.maxactive = 1000;
    first.max_depth = 1000;
  }
  std::vector<ReturnProbe> probes;
  probes.push_back(Attached(&stormed, std::move(first)));
  if (kind == Kind::kSeveral) {
    probes.push_back(Attached(&stormed, ends[1].Options<1>()));
  }
  for (size_t i = 0; i < probes.size(); ++i) g_ends[i] = &ends[i];
  return probes;
}

// Whether a storm with `handler` leaves counts that are exact.
void CheckStorm(void (*handler)(int, siginfo_t*, void*)) {
  OnSignal(handler);
  for (int kind = 0; kind <= static_cast<int>(Kind::kLast); ++kind) {
    for (const int threads : {1, 2, 8}) {
      CAPTURE(kind);
      CAPTURE(threads);
      ExactEnds ends[2];
      const auto probes = AttachStormed(static_cast<Kind>(kind), ends);
      Storm(threads, 700 / threads);
      for (size_t i = 0; i < probes.size(); ++i) {
        g_ends[i] = nullptr;
        CheckExact(ends[i]);
        CHECK(ends[i].abandoned() > 0);
        CHECK(probes[i].nmissed().empty + probes[i].nmissed().depth == 0);
      }
      const long before = ends[0].returned();
      CHECK(stormed(5) == 5);
      CHECK(ends[0].returned() == before + 5);
    }
  }
}

TEST_CASE("signal handlers that jump from anywhere leave no instance out") {
  CheckStorm([](int, siginfo_t*, void* context) {
    if (!g_inside) return;
    g_inside = false;
    TellLeaving(context);
    siglongjmp(g_home, 1);
  });
}

TEST_CASE("signal handlers that call probed functions, and leave by them") {
  CheckStorm([](int, siginfo_t*, void* context) {
    static thread_local int calls = 0;
    if (stormed(4) != 4) std::abort();
    if (++calls % 2 == 0 || !g_inside) return;
    g_inside = false;
    TellLeaving(context);
    stormed(-1);
  });
}

}  // namespace
}  // namespace retprobe
