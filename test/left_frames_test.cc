// SPDX-License-Identifier: Apache-2.0
//
// Handlers and the trampoline itself, left at any instruction.
#include <doctest/doctest.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <memory>

#include "ends.h"
#include "patch/stub_map.h"
#include "rethook/left_frame.h"
#include "trap_flag.h"

namespace {

thread_local sigjmp_buf g_out;
constexpr long kThrows = -1;
constexpr long kJumps = -2;

}  // namespace

// Nothing in it is of interest to a personality routine.
extern "C" __attribute__((noinline, noclone)) long stepped(long x) {
  asm volatile("" : "+r"(x));
  return x + 1;
}

extern "C" __attribute__((noinline, noclone)) long left(long x) {
  asm volatile("" : "+r"(x));
  if (x == kThrows) throw 1;
  if (x == kJumps) siglongjmp(g_out, 1);
  return x + 1;
}

namespace retprobe {
namespace {

// How a frame is left.
enum class Way { kJump, kThrow, kExit };

// Instructions of the trampoline, and of the stub, where some thread has left a
// call.
using Places = std::array<std::atomic<bool>, 65536>;

// One thread's single-stepping through a call, which it leaves at the first
// such instruction where nobody has yet.
struct Stepper {
  // What follows is a critical section, which begins again at every step.
  static constexpr long kMost = 2000;

  Way way;
  Places* places;
  bool anywhere = false;  // also in what is called from there
  long steps = 0;
  bool left = false;
  sigjmp_buf home;
};
thread_local Stepper* g_stepper;

void OnTrap(int, siginfo_t*, void* context) {
  const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  Stepper* const stepper = g_stepper;
  if (stepper == nullptr || ++stepper->steps > Stepper::kMost) {
    test::StopStepping(context);
    return;
  }
  const auto ip = static_cast<uintptr_t>(registers[REG_RIP]);
  const uintptr_t entry = reinterpret_cast<uintptr_t>(&retprobe_entry);
  size_t place = 0;
  if (stepper->anywhere) {
    place = ip % stepper->places->size();
  } else if (InTrampoline(ip)) {
    place = ip - entry;
  } else if (OriginalPlace(ip) != 0) {  // in a stub
    place = stepper->places->size() - 1 - ip % 256;
  } else {
    return;
  }
  if (stepper->places->at(place).exchange(true)) return;
  g_stepper = nullptr;
  stepper->left = true;
  // The context may go on, with the signals blocked that are now.
  test::StopStepping(context);
  switch (stepper->way) {
    case Way::kJump:
      siglongjmp(stepper->home, 1);
    case Way::kThrow: {
      sigset_t trap;
      sigemptyset(&trap);
      sigaddset(&trap, SIGTRAP);
      pthread_sigmask(SIG_UNBLOCK, &trap, nullptr);
      throw 1;
    }
    case Way::kExit:
      pthread_exit(nullptr);
  }
}

// Where stepping begins: before the call, or in its entry handler.
enum class Start { kCall, kHandler };
thread_local Start g_start;

// The compiler must not see that it throws nothing.
long (*volatile g_stepped)(long) = &stepped;

__attribute__((noinline)) void CallStepping(Stepper& stepper) {
  g_stepper = &stepper;
  if (g_start == Start::kCall) test::SetTrapFlag();
  g_stepped(1);
  g_stepper = nullptr;
}

// Whether there was a place to leave at.
__attribute__((noinline)) bool CallAndLeave(Way way, Places* places,
                                            bool anywhere) {
  Stepper stepper = {.way = way, .places = places, .anywhere = anywhere};
  switch (way) {
    case Way::kJump:
      if (sigsetjmp(stepper.home, 1) == 0) CallStepping(stepper);
      break;
    case Way::kThrow:
      try {
        CallStepping(stepper);
      } catch (int) {
      }
      break;
    case Way::kExit: {
      struct Argument {
        Stepper& stepper;
        Start start;
      } argument = {stepper, g_start};
      pthread_t thread;
      pthread_create(
          &thread, nullptr,
          [](void* pointer) -> void* {
            auto& [stepper, start] = *static_cast<Argument*>(pointer);
            g_start = start;
            CallStepping(stepper);
            return nullptr;
          },
          &argument);
      pthread_join(thread, nullptr);
    }
  }
  return stepper.left;
}

// Leaves calls wherever they can be left; how many were.
long LeaveEverywhere(Way way, int threads, bool anywhere = false) {
  const auto places = std::make_unique<Places>();
  std::atomic<long> left = 0;
  InThreads(threads, [&] {
    for (const Start start : {Start::kCall, Start::kHandler}) {
      g_start = start;
      while (CallAndLeave(way, places.get(), anywhere)) ++left;
    }
  });
  return left;
}

ReturnProbeOptions SteppingOptions(Ends& ends) {
  ReturnProbeOptions options = ends.Options();
  options.entry_handler = [&ends](EntryContext&) noexcept {
    ++ends.entered;
    if (g_stepper != nullptr && g_start == Start::kHandler) test::SetTrapFlag();
    return true;
  };
  return options;
}

void CheckLeaving(Way way, int threads, int probes) {
  CAPTURE(threads);
  CAPTURE(static_cast<int>(way));
  CAPTURE(probes);
  Ends ends[2];
  const ReturnProbe first = Attached(&stepped, SteppingOptions(ends[0]));
  auto second =
      probes == 2
          ? std::make_unique<ReturnProbe>(Attached(&stepped, ends[1].Options()))
          : nullptr;
  const long places = LeaveEverywhere(way, threads);
  CHECK(places > 50);
  for (const Ends& end : ends) {
    CHECK(end.entered == end.ended());
    CHECK((way == Way::kJump ? end.unwound : end.abandoned) == 0);
  }
  CHECK(Out() == 0);
  const long before = ends[0].returned;
  CHECK(stepped(1) == 2);
  CHECK(ends[0].returned == before + 1);
}

void InstallOnTrap() {
  struct sigaction action = {};
  action.sa_sigaction = &OnTrap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, nullptr);
}

TEST_CASE("a call left at any instruction of the trampoline ends once") {
  InstallOnTrap();
  for (const Way way : {Way::kJump, Way::kThrow, Way::kExit}) {
    for (const int threads : {1, 2, 8}) CheckLeaving(way, threads, 1);
    CheckLeaving(way, 1, 2);
  }
}

TEST_CASE("a call left at any instruction at all leaves no instance out") {
  InstallOnTrap();
  for (const Way way : {Way::kJump, Way::kExit}) {
    for (const int threads : {1, 2, 8}) {
      ReturnProbe probe = Attached(&stepped, {});
      CHECK(LeaveEverywhere(way, threads, true) > 10);
      CHECK(Out() == 0);
      // The slow path into a function is waited for.
      probe.Detach();
    }
  }
}

// A handler leaves its call at one of these moments.
enum class Moment { kEntry, kReturned, kUnwound, kAbandoned };
// By way of a signal handler, if `by_signal`.
ReturnProbeOptions Leaving(Ends& ends, Moment moment, bool by_signal) {
  const auto leave = [by_signal]() noexcept {
    by_signal ? void(raise(SIGUSR1)) : siglongjmp(g_out, 1);
  };
  ReturnProbeOptions options;
  options.maxactive = 8;  // one for each thread
  options.entry_handler = [&ends, moment, leave](EntryContext&) noexcept {
    if (moment == Moment::kEntry) leave();
    ++ends.entered;
    return true;
  };
  options.return_handler = [&ends, moment,
                            leave](ReturnContext& context) noexcept {
    ends.Count(context.reason());
    if (moment == Moment::kReturned) leave();
    if (context.reason() == EndReason::kUnwound) leave();
    if (context.reason() == EndReason::kAbandoned) leave();
  };
  return options;
}

__attribute__((noinline)) void CallAndLeave(Moment moment) {
  if (sigsetjmp(g_out, 1) != 0) return;
  try {
    left(moment == Moment::kUnwound     ? kThrows
         : moment == Moment::kAbandoned ? kJumps
                                        : 1);
  } catch (int) {
  }
  FAIL("not left");
}

// Three probes on one function; the handlers of the second are left.
void CheckLeftHandler(Moment moment, bool by_signal, int threads) {
  CAPTURE(static_cast<int>(moment));
  CAPTURE(by_signal);
  CAPTURE(threads);
  constexpr int kTimes = 50;
  const int calls = kTimes * threads;
  Ends ends[3];
  const ReturnProbe first = Attached(&left, ends[0].Options());
  ReturnProbe second = Attached(&left, Leaving(ends[1], moment, by_signal));
  const ReturnProbe third = Attached(&left, ends[2].Options());
  InThreads(threads, [&] {
    for (int i = 0; i < kTimes; ++i) CallAndLeave(moment);
  });
  for (const Ends& end : ends) CHECK(end.entered == end.ended());
  CHECK(ends[0].entered == calls);
  CHECK(ends[0].abandoned == calls);
  CHECK(ends[1].entered == (moment == Moment::kEntry ? 0 : calls));
  CHECK(ends[2].entered == ends[1].entered);
  CHECK(second.nmissed().total() == 0);
  CHECK(Out() == 0);
  second.Detach();
  CHECK(left(1) == 2);
  CHECK(ends[2].returned == (moment == Moment::kReturned ? calls + 1 : 1));
}

TEST_CASE("a handler that is left ends its activation for the others") {
  struct sigaction action = {};
  action.sa_handler = [](int) { siglongjmp(g_out, 1); };
  sigaction(SIGUSR1, &action, nullptr);
  for (const Moment moment : {Moment::kEntry, Moment::kReturned,
                              Moment::kUnwound, Moment::kAbandoned}) {
    for (const bool by_signal : {false, true}) {
      for (const int threads : {1, 2, 8}) {
        CheckLeftHandler(moment, by_signal, threads);
      }
    }
  }
}

TEST_CASE("a handler that is left leaves its thread probed") {
  for (const Moment moment : {Moment::kEntry, Moment::kReturned}) {
    for (const int maxactive : {0, 1}) {
      Ends ends;
      ReturnProbeOptions options = Leaving(ends, moment, false);
      options.maxactive = maxactive;
      ReturnProbe probe = Attached(&left, std::move(options));
      for (int i = 0; i < 100; ++i) CallAndLeave(moment);
      CHECK(ends.entered == (moment == Moment::kEntry ? 0 : 100));
      CHECK(ends.entered == ends.ended());
      CHECK(probe.nmissed().total() == 0);
      CHECK(Out() == 0);
    }
  }
}

}  // namespace
}  // namespace retprobe
