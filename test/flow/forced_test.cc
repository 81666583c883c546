// SPDX-License-Identifier: Apache-2.0
//
// Unwinding that nobody asked for: forced through frames, as by pthread_exit,
// or ended by std::terminate. Linked as exceptions_test.cc is.
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include <atomic>
#include <csetjmp>
#include <cstdlib>
#include <exception>

#include "flow/flow.h"

namespace {

std::atomic<long> g_destroyed;
struct Local {
  ~Local() { ++g_destroyed; }
};

}  // namespace

FLOW_TARGET long uncaught(long x) {
  FLOW_NO_TAIL_CALL;
  if (x >= 0) throw x;
  return x;
}

FLOW_TARGET long uncaught_pass(long depth) {
  Local local;
  const long result = depth == 0 ? uncaught(9) : uncaught_pass(depth - 1);
  FLOW_NO_TAIL_CALL;
  return result + 1;
}

FLOW_TARGET long promises(long depth) noexcept {
  const long result = uncaught_pass(depth);
  FLOW_NO_TAIL_CALL;
  return result;
}

// Leaves frames as pthread_exit does, up to `target`, and jumps there.
struct Forced {
  _Unwind_Exception exception = {};
  uintptr_t target = 0;
  std::jmp_buf landing;
};

static _Unwind_Reason_Code StopAt(int, _Unwind_Action actions,
                                  _Unwind_Exception_Class, _Unwind_Exception*,
                                  _Unwind_Context* context, void* data) {
  auto* forced = static_cast<Forced*>(data);
  if (_Unwind_GetRegionStart(context) == forced->target) {
    std::longjmp(forced->landing, 1);
  }
  if (actions & _UA_END_OF_STACK) std::abort();
  return _URC_NO_REASON;
}

FLOW_TARGET long force(Forced* forced, long depth) {
  Local local;
  if (depth == 0) {
    return _Unwind_ForcedUnwind(&forced->exception, StopAt, forced);
  }
  const long result = force(forced, depth - 1);
  FLOW_NO_TAIL_CALL;
  return result + 1;
}

FLOW_TARGET long survives_force(long depth) {
  Forced forced;
  forced.target = reinterpret_cast<uintptr_t>(&survives_force);
  if (setjmp(forced.landing) != 0) return 1;
  return force(&forced, depth);
}

namespace {

using flow::Address;

constexpr int kRounds = 8;

TEST_CASE("forced unwinding passes many frames") {
  std::atomic<long> wrong{0};
  g_destroyed = 0;
  flow::WatchEnds({Address(&force)}, kRounds, 0, 21,
                  [&](int) { wrong += survives_force(20) != 1; });
  CHECK(wrong == 0);
  CHECK(g_destroyed == 21 * kRounds * (1 + 2 + 8) * kWatchKinds);
}

// How many frames of uncaught_pass are on the stack, by the process's unwinder.
int LocalFrames() {
  int found = 0;
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* count) {
        *static_cast<int*>(count) +=
            _Unwind_GetRegionStart(context) ==
            reinterpret_cast<uintptr_t>(&uncaught_pass);
        return _URC_NO_REASON;
      },
      &found);
  return found;
}

int g_frames;

// The exit status of a child in which `call` ends in std::terminate: 0 when
// `frames` of uncaught_pass were there and the other activations had ended.
int Terminate(void (*call)(), int threads, int frames) {
  const pid_t child = fork();
  if (child == 0) {
    void* const functions[] = {Address(&uncaught), Address(&uncaught_pass),
                               Address(&promises)};
    watch_start(kWatchBoth, functions, 3);
    g_frames = frames;
    std::set_terminate([] {
      const bool ended = watch_look().unwound >= 42;
      _exit(LocalFrames() != g_frames ? 1 : ended != (g_frames == 0) ? 2 : 0);
    });
    for (int i = 1; i < threads; ++i) std::thread(call).detach();
    call();
    _exit(3);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST_CASE("an exception that nobody catches ends at the throw") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    CHECK(Terminate([] { std::thread([] { uncaught_pass(40); }).join(); },
                    threads, 41) == 0);
    // What must not throw is reached first: libstdc++ unwinds up to there.
    CHECK(Terminate([] { promises(40); }, threads, 0) == 0);
  }
}

}  // namespace
