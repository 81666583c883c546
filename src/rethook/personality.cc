// SPDX-License-Identifier: Apache-2.0
//
// The trampoline's personality routine: what happens to an activation when an
// exception, pthread_exit or a cancellation unwinds its frame.
//
// Return handlers run here, in the unwinder's second phase, and the instance
// is given back at once; what the unwinder still reads of it (return address,
// rbx) is copied to a "ghost" that rbx is pointed to. Unwinding then goes on,
// except where the handler of the exception stands in the trampoline's direct
// caller: caller and trampoline have one stack pointer and one CFA, so libgcc
// (by CFA) and LLVM (by stack pointer) take the trampoline for the frame that
// must be landed on. There the landing pad is installed, which continues as if
// the caller had called _Unwind_Resume.

#include "rethook/personality.h"

#include <unwind.h>

#include "rethook/left_frame.h"
#include "rethook/llvm_cursor.h"
#include "rethook/slow_path.h"
#include "rethook/trampoline.h"
#include "rethook/unwinder.h"

namespace retprobe {
namespace {

// An unwinder reads a ghost until a frame further out has saved rbx, or it has
// landed. Meanwhile only code that runs inside its second phase can use ghosts,
// by unwinding probed frames itself (a destructor does not: by then it has
// landed): a signal handler, say. Enough for a few such frames.
//
// The last ones are for frames that were interrupted: who walks the stack
// before the unwinder has landed may come to such a frame, and read its ghost,
// again.
constexpr unsigned kGhosts = 8;
constexpr unsigned kInterrupted = 2;
thread_local UnwindGhost g_ghosts[kGhosts + kInterrupted]
    __attribute__((tls_model("initial-exec")));
thread_local unsigned g_next_ghost __attribute__((tls_model("initial-exec")));
thread_local unsigned g_next_interrupted
    __attribute__((tls_model("initial-exec")));

UnwindGhost* NextGhost(bool interrupted) {
  return interrupted ? &g_ghosts[kGhosts + g_next_interrupted++ % kInterrupted]
                     : &g_ghosts[g_next_ghost++ % kGhosts];
}

// What the personality routine does for `unwinder`.
_Unwind_Reason_Code Unwind(const Unwinder& unwinder, _Unwind_Action actions,
                           _Unwind_Exception* exception,
                           _Unwind_Context* context);

// For an unwinder without a name for _Unwind_Resume: goes on as it would have,
// to the caller, whose handler it has reached.
_Unwind_Reason_Code LandInCaller(const Unwinder& unwinder,
                                 _Unwind_Action actions,
                                 _Unwind_Exception* exception,
                                 _Unwind_Context* context) {
  _Unwind_Personality_Fn routine = nullptr;
  if (!StepToCaller(context, &routine) || routine == nullptr) {
    return _URC_FATAL_PHASE2_ERROR;
  }
  // Our own: a probed function that jumped to another.
  if (routine == &retprobe_personality) {
    return Unwind(unwinder, actions, exception, context);
  }
  return routine(1, actions, exception->exception_class, exception, context);
}

_Unwind_Reason_Code Unwind(const Unwinder& unwinder, _Unwind_Action actions,
                           _Unwind_Exception* exception,
                           _Unwind_Context* context) {
  int interrupted = 0;
  const uintptr_t ip = unwinder.get_ip_info(context, &interrupted);
  const FrameState state = StateAt(ip, interrupted != 0);
  if (state.kind() == RETPROBE_STATE_NONE) return _URC_CONTINUE_UNWIND;
  if (state.kind() == RETPROBE_STATE_SLOW &&
      (actions & _UA_FORCE_UNWIND) != 0 && unwinder.forced_unwind != nullptr) {
    FinishThenUnwind(unwinder, exception);
  }
  LeaveHandlers();
  ReturnInstance* instance = NoteLeft(
      state, 0, [&](int number) { return unwinder.get_gr(context, number); });
  if (instance == nullptr) return _URC_CONTINUE_UNWIND;
  UnwindGhost* ghost = NextGhost(interrupted != 0);
  ghost->return_address = instance->return_address;
  ghost->saved_rbx = instance->saved_rbx;
  ghost->resume = reinterpret_cast<uint64_t>(unwinder.resume);
  ghost->instance = instance;
  unwinder.set_gr(context, HolderOf(state),
                  reinterpret_cast<_Unwind_Word>(ghost));
  EndUnwound(ghost);
  // Elsewhere the stack pointer tells us from our caller.
  if (state.kind() != RETPROBE_STATE_CALLED ||
      (actions & _UA_HANDLER_FRAME) == 0) {
    return _URC_CONTINUE_UNWIND;
  }
  if (unwinder.resume == nullptr) {
    return LandInCaller(unwinder, actions, exception, context);
  }
  unwinder.set_gr(context, RETPROBE_RAX,
                  reinterpret_cast<_Unwind_Word>(exception));
  unwinder.set_gr(context, RETPROBE_RDX, 0);
  unwinder.set_ip(context,
                  reinterpret_cast<_Unwind_Ptr>(&retprobe_landing_pad));
  return _URC_INSTALL_CONTEXT;
}

}  // namespace

UnwindGhost* AsGhost(uint64_t address) {
  const uint64_t offset = address - reinterpret_cast<uintptr_t>(g_ghosts);
  return offset < sizeof(g_ghosts) ? reinterpret_cast<UnwindGhost*>(address)
                                   : nullptr;
}

}  // namespace retprobe

extern "C" __attribute__((visibility("hidden"))) _Unwind_Reason_Code
retprobe_personality(int version, _Unwind_Action actions, uint64_t,
                     _Unwind_Exception* exception, _Unwind_Context* context) {
  using namespace retprobe;
  if (version != 1) return _URC_FATAL_PHASE1_ERROR;
  if ((actions & _UA_CLEANUP_PHASE) == 0) return _URC_CONTINUE_UNWIND;
  return Unwind(
      *FindUnwinder(reinterpret_cast<uintptr_t>(__builtin_return_address(0)),
                    context),
      actions, exception, context);
}
