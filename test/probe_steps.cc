// SPDX-License-Identifier: Apache-2.0
//
// What a probe's limits count, with another thread's call between any two
// instructions that count.
#include <signal.h>

#include <atomic>
#include <thread>

#include "ends.h"
#include "probe/probe.h"
#include "trap_flag.h"

TARGET long stepped_target(long x) {
  asm volatile("" : "+r"(x));
  return x + 1;
}

namespace retprobe {
namespace {

// Whether the calling thread's instructions are to be counted between.
thread_local bool g_stepping;

// Calls by another thread, one after each step.
std::atomic<long> g_asked;
std::atomic<long> g_made;

void OnStep(int, siginfo_t*, void* context) {
  if (!g_stepping) {
    test::StopStepping(context);
    return;
  }
  const long number = ++g_asked;
  while (g_made < number) std::this_thread::yield();
}

// Steps from the end of this probe's entry handler to the next probe's, and
// back at the return.
ReturnProbeOptions Outer() {
  ReturnProbeOptions options;
  options.entry_handler = [](EntryContext&) noexcept {
    if (g_stepping) test::SetTrapFlag();
    return true;
  };
  options.return_handler = [](ReturnContext&) noexcept { g_stepping = false; };
  return options;
}

ReturnProbeOptions Counted(Ends& ends) {
  ReturnProbeOptions options;
  options.entry_handler = [&ends](EntryContext&) noexcept {
    ++ends.entered;
    g_stepping = false;
    return true;
  };
  options.return_handler = [&ends](ReturnContext& context) noexcept {
    ++ends.returned;
    if (context.argument(0) != 0) {
      g_stepping = true;
      test::SetTrapFlag();
    }
  };
  options.saved_arguments = 1;
  options.maxactive = 1000;
  options.max_depth = 1000;
  options.max_hits = 1'000'000;
  return options;
}

TEST_CASE("limits count every call, whatever comes between") {
  struct sigaction action = {};
  struct sigaction before;
  action.sa_sigaction = &OnStep;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before);
  Ends ends;
  const ReturnProbe outer = Attached(&stepped_target, Outer());
  const ReturnProbe counted = Attached(&stepped_target, Counted(ends));
  g_asked = g_made = 0;
  std::atomic<bool> stop{false};
  std::thread other([&] {
    for (; !stop; std::this_thread::yield()) {
      while (g_made < g_asked) {
        stepped_target(0);
        ++g_made;
      }
    }
  });
  g_stepping = true;
  CHECK(stepped_target(1) == 2);
  stop = true;
  other.join();
  sigaction(SIGTRAP, &before, nullptr);
  const long calls = g_made + 1;
  CHECK(calls > 50);
  CHECK(ends.entered == calls);
  CHECK(ends.returned == calls);
  const ProbeState& state = ProbeAccess::StateOf(counted);
  CHECK(state.hits == static_cast<uint64_t>(calls));
  CHECK(state.active == 0);
  CHECK(counted.nmissed().total() == 0);
  CHECK(Out() == 0);
}

}  // namespace
}  // namespace retprobe
