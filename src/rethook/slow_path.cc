// SPDX-License-Identifier: Apache-2.0
#include "rethook/slow_path.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "arch/arch.h"
#include "rethook/left_frame.h"

extern "C" {
// Where a slow path returns to that has been finished (trampoline.S).
void retprobe_finished();
[[noreturn]] void retprobe_sigreturn(uintptr_t signal_frame);
[[noreturn]] __attribute__((visibility("hidden"))) void retprobe_go_on(
    uint64_t result);
}

namespace retprobe {
namespace {

// What the thread does once its slow path has been finished.
struct Afterwards {
  uintptr_t return_address;  // of the slow path
  // Either a jump: of the buffer what matters, its registers, whether it has a
  // mask, and the mask.
  void (*jump)(void* buffer, int value);
  uint64_t buffer[10];
  int value;
  // Or unwinding.
  _Unwind_Reason_Code (*unwind)(_Unwind_Exception*, _Unwind_Stop_Fn, void*);
  _Unwind_Exception* exception;
};
thread_local Afterwards g_afterwards __attribute__((tls_model("initial-exec")));

[[noreturn]] void Finish(const InterruptedSlowPath& path) {
  auto* slot = reinterpret_cast<uintptr_t*>(path.sp) - 1;
  const auto finished = reinterpret_cast<uintptr_t>(&retprobe_finished);
  // It may be on its way already, and have been interrupted again.
  if (*slot != finished) {
    g_afterwards.return_address = *slot;
    *slot = finished;
  }
  // The mask stays what it is now.
  auto* context = reinterpret_cast<ucontext_t*>(path.signal_frame);
  arch::SystemCall(SYS_rt_sigprocmask, SIG_SETMASK, 0,
                   reinterpret_cast<long>(&context->uc_sigmask),
                   sizeof(uint64_t));
  retprobe_sigreturn(path.signal_frame);
}

struct Search {
  InterruptedSlowPath path;
  uintptr_t sp = 0;

  static _Unwind_Reason_Code Visit(_Unwind_Context* context, void* argument) {
    auto& self = *static_cast<Search*>(argument);
    int interrupted = 0;
    const uintptr_t ip = _Unwind_GetIPInfo(context, &interrupted);
    if (interrupted != 0) self.path.signal_frame = self.sp;
    self.sp = _Unwind_GetCFA(context);
    if (!InTrampoline(ip)) return _URC_NO_REASON;
    if (StateAt(ip, interrupted != 0).kind() == RETPROBE_STATE_SLOW) {
      self.path.sp = self.sp;
    }
    return _URC_NORMAL_STOP;
  }
};

}  // namespace

void FinishThenJump(const InterruptedSlowPath& path, const void* jump,
                    const void* buffer, int value) {
  Afterwards& then = g_afterwards;
  then.unwind = nullptr;
  then.jump = reinterpret_cast<void (*)(void*, int)>(const_cast<void*>(jump));
  for (int i = 0; i < 10; ++i) {
    then.buffer[i] = static_cast<const uint64_t*>(buffer)[i];
  }
  then.value = value;
  Finish(path);
}

void FinishThenUnwind(const Unwinder& unwinder, _Unwind_Exception* exception) {
  Search search;
  _Unwind_Backtrace(&Search::Visit, &search);
  if (search.path.sp == 0 || search.path.signal_frame == 0) return;
  g_afterwards.unwind = unwinder.forced_unwind;
  g_afterwards.exception = exception;
  Finish(search.path);
}

}  // namespace retprobe

void retprobe_go_on(uint64_t result) {
  using namespace retprobe;
  Afterwards then = g_afterwards;
  // What it brought, if it was to bring something.
  ReturnInstance* instance = NoteLeft(StateAt(then.return_address, true), 0,
                                      [result](int) { return result; });
  EndAbandoned(instance);
  if (then.unwind != nullptr) {
    // As libgcc keeps them.
    then.unwind(then.exception,
                reinterpret_cast<_Unwind_Stop_Fn>(then.exception->private_1),
                reinterpret_cast<void*>(then.exception->private_2));
  } else {
    union {
      jmp_buf whole;
      uint64_t words[10];
    } buffer;
    for (int i = 0; i < 10; ++i) buffer.words[i] = then.buffer[i];
    then.jump(&buffer, then.value);
  }
  __builtin_trap();
}
