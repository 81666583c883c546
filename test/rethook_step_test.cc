// SPDX-License-Identifier: Apache-2.0
//
// A signal at every instruction of a hooked return and of the landing pad, with
// backtrace() from each; part of rethook_flow_test.
#include <doctest/doctest.h>
#include <execinfo.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <stdexcept>

#include "hooking.h"
#include "rethook/hooked.h"
#include "rethook/slots.h"

namespace {

constexpr int kFrames = 64;
constexpr greg_t kTrapFlag = 0x100;

struct Steps {
  void* callers[kFrames];  // of the function that is stepped, innermost first
  int caller_count;
  int steps;  // in the code that is looked at
  int wrong;
};
Steps g_steps;
volatile bool g_stepping;

bool IsOurs(uintptr_t pc) {
  // The first of them in its file, and the last.
  const auto begin = reinterpret_cast<uintptr_t>(&retprobe_hooked_return_sse);
  const auto end = reinterpret_cast<uintptr_t>(&retprobe_hooked_landing_pad);
  return retprobe::RecordAt(pc) != nullptr ||
         (pc >= begin && pc < end + 32);  // the pad has 31 bytes
}

// The callers are the last frames of what unwinding finds, from whatever
// instruction.
void OnStep(int, siginfo_t*, void* where) {
  auto& registers = static_cast<ucontext_t*>(where)->uc_mcontext.gregs;
  if (!g_stepping) registers[REG_EFL] &= ~kTrapFlag;
  if (!IsOurs(static_cast<uintptr_t>(registers[REG_RIP]))) return;
  ++g_steps.steps;
  void* frames[kFrames];
  const int count = backtrace(frames, kFrames);
  g_steps.wrong +=
      count < g_steps.caller_count ||
      !std::equal(g_steps.callers, g_steps.callers + g_steps.caller_count,
                  frames + count - g_steps.caller_count);
}

void BeginSteps() {
  g_stepping = true;
  asm volatile("pushfq\n orq $0x100, (%%rsp)\n popfq" ::: "memory", "cc");
}

}  // namespace

TARGET long stepped(long x) {
  RETPROBE_TEST_ENTER();
  // From our caller's caller on: where our caller calls differs.
  void* frames[kFrames];
  const int count = backtrace(frames, kFrames);
  int first = 0;
  while (frames[first] != __builtin_return_address(0)) ++first;
  g_steps.caller_count = count - first - 2;
  std::copy(frames + first + 2, frames + count, g_steps.callers);
  BeginSteps();
  if (x > 3) throw std::runtime_error("boom");
  return x + 1;
}

TARGET long stepped_caller(long x) {
  const long result = stepped(x);
  g_stepping = false;
  return result;
}

namespace retprobe {
namespace {

// Not with every unwinder: nongnu's blocks all signals for a while, and a step
// that traps then ends the process.
TEST_CASE("callers are seen from every step of a hooked return") {
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_sigaction = &OnStep;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before);
  for (const bool alone : {true, false}) {
    CAPTURE(alone);
    g_steps = {};
    Rethook::Options options;
    // The pool's restartable sequences do not get past a single step.
    options.storage = test::Storage::kShadowStack;
    options.handler_leaves_vectors_alone = alone;
    test::Hooking hooking(std::move(options));
    CHECK(stepped_caller(1) == 2);
    CHECK(g_steps.steps > 40);
    CHECK(g_steps.wrong == 0);
    g_steps.steps = 0;
    try {
      stepped_caller(5);
      CHECK(false);
    } catch (const std::exception&) {
      g_stepping = false;
    }
    CHECK(g_steps.steps > 8);
    CHECK(g_steps.wrong == 0);
    CHECK(hooking.returned() == 1);
    CHECK(hooking.unwound() == 1);
  }
  sigaction(SIGTRAP, &before, nullptr);
}

}  // namespace
}  // namespace retprobe
