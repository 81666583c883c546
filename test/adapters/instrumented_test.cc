// SPDX-License-Identifier: Apache-2.0
//
// -finstrument-functions: functions call __cyg_profile_func_enter when their
// frame stands, and are not told where their return address is. Compiled with
// -fno-omit-frame-pointer they have it above the frame pointer, with two
// exceptions, both seen here:
//
// - An inlined function is announced, too, with the frame of the one that it is
//   part of: whose return is hooked already, or is not the function's.
// - GCC gives a frame with over-aligned variables and alloca (or va_start) a
//   copy of the return address, aligned as the variables are. Only the unwinder
//   knows better, and is asked where the place looks like such a copy. That
//   takes about a microsecond; a framework would remember it by function.
//
// __cyg_profile_func_exit is called by functions that return, in GCC's code
// also by those that are unwound; who wants no more than that needs no Rethook.
// What it gets as `call_site` is what is on the stack:
// Rethook::FindReturnAddress knows more.
#include <doctest/doctest.h>
#include <unwind.h>

#include <atomic>
#include <cstdint>

#include "checks.h"
#include "hooking.h"

namespace {

using retprobe::Rethook;

std::atomic<Rethook*> g_rethook{nullptr};
retprobe::test::Ends g_ends;
std::atomic<long> g_exits{0};
std::atomic<long> g_strange_exits{0};  // by another way than they came
std::atomic<long> g_inlined{0};
std::atomic<long> g_copies{0};

// What was entered, outermost first; deep enough for the targets.
struct Entered {
  void** frame;
  void* function;
  void* call_site;
};
thread_local Entered t_entered[64];
thread_local int t_depth = 0;

// Forgets what is further in than `frame`: clang's code has told nobody.
void ForgetInside(void** frame) {
  while (t_depth > 0 && t_entered[t_depth - 1].frame < frame) --t_depth;
}

// Where the return address of the caller's caller is, by unwind tables.
__attribute__((noinline)) void** FindReturnAddressOfCaller() {
  struct Search {
    int frames = 0;
    uintptr_t cfa = 0;
  } search;
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* argument) -> _Unwind_Reason_Code {
        auto* search = static_cast<Search*>(argument);
        // This function, the hook, the function, its caller: whose stack
        // pointer is the function's canonical frame address.
        if (search->frames++ < 3) return _URC_NO_REASON;
        search->cfa = _Unwind_GetCFA(context);
        return _URC_END_OF_STACK;
      },
      &search);
  return reinterpret_cast<void**>(search.cfa) - 1;
}

}  // namespace

extern "C" {

__attribute__((noinline)) void __cyg_profile_func_enter(void* function,
                                                        void* call_site) {
  Rethook* rethook = g_rethook.load(std::memory_order_acquire);
  if (rethook == nullptr) return;
  // What the hook's own frame pointer points to is the function's.
  auto** frame = *static_cast<void***>(__builtin_frame_address(0));
  void** slot = frame + 1;
  if (reinterpret_cast<uintptr_t>(slot + 1) % 32 == 0) {
    void** found = FindReturnAddressOfCaller();
    if (found != slot) g_copies.fetch_add(1, std::memory_order_relaxed);
    slot = found;
  }
  if (Rethook::FindReturnAddress(*slot) != *slot) {
    g_inlined.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ForgetInside(slot);
  t_entered[t_depth++] = {frame, function, call_site};
  if (*slot != call_site) return;  // compiled without frame pointer
  Rethook::Instance* instance = rethook->TryGet();
  if (instance == nullptr) return;
  g_ends.entries.fetch_add(1, std::memory_order_relaxed);
  rethook->Hook(instance, slot, function);
}

__attribute__((noinline)) void __cyg_profile_func_exit(void* function,
                                                       void* call_site) {
  if (g_rethook.load(std::memory_order_acquire) == nullptr) return;
  auto** frame = *static_cast<void***>(__builtin_frame_address(0));
  ForgetInside(frame);
  const Entered entered = t_depth > 0 ? t_entered[t_depth - 1] : Entered{};
  if (entered.function != function) return;  // inlined
  --t_depth;
  g_exits.fetch_add(1, std::memory_order_relaxed);
  if (entered.frame != frame ||
      entered.call_site != Rethook::FindReturnAddress(call_site)) {
    g_strange_exits.fetch_add(1, std::memory_order_relaxed);
  }
}
}

namespace retprobe::test {
namespace {

TEST_CASE("what -finstrument-functions compiles is seen to return by frame") {
  const auto rethook = Create(WithHandler(
      [](ReturnContext& context) noexcept { g_ends.Count(context); }));
  ::g_rethook = rethook.get();
  CheckEnds(kInstrumentedTargets, g_ends);
  ::g_rethook = nullptr;
  CHECK(rethook->in_use() == 0);
  CHECK(rethook->nmissed().total() == 0);
#if defined(__clang__)
  CHECK(g_exits == g_ends.returned);
#else
  CHECK(g_exits == g_ends.entries);
#endif
  CHECK(g_strange_exits == 0);
  CHECK(g_inlined == 1100);  // one in each of Mixed
  MESSAGE("return addresses copied by the function: ", g_copies.load());
}

}  // namespace
}  // namespace retprobe::test
