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

#include <unwind.h>

#include "rethook/guard.h"
#include "rethook/trampoline.h"
#include "rethook/unwinder.h"

namespace retprobe {
namespace {

// An unwinder reads a ghost until a frame further out has saved rbx, or it has
// landed. Meanwhile only code that runs inside its second phase can use ghosts,
// by unwinding probed frames itself (a destructor does not: by then it has
// landed): a signal handler, say. Enough for a few such frames.
constexpr unsigned kGhosts = 8;
thread_local UnwindGhost g_ghosts[kGhosts]
    __attribute__((tls_model("initial-exec")));
thread_local unsigned g_next_ghost __attribute__((tls_model("initial-exec")));

constexpr int kRax = 0;
constexpr int kRdx = 1;
constexpr int kRbx = 3;

}  // namespace
}  // namespace retprobe

extern "C" __attribute__((visibility("hidden"))) _Unwind_Reason_Code
retprobe_personality(int version, _Unwind_Action actions, uint64_t,
                     _Unwind_Exception* exception, _Unwind_Context* context) {
  using namespace retprobe;
  if (version != 1) return _URC_FATAL_PHASE1_ERROR;
  if ((actions & _UA_CLEANUP_PHASE) == 0) return _URC_CONTINUE_UNWIND;
  HandlerScope scope;
  const Unwinder* unwinder =
      FindUnwinder(reinterpret_cast<uintptr_t>(__builtin_return_address(0)));
  // Elsewhere in the trampoline (a cancellation at that very instruction) there
  // is either no activation yet or none any more.
  if (unwinder->get_ip(context) !=
      reinterpret_cast<uintptr_t>(&retprobe_return)) {
    return _URC_CONTINUE_UNWIND;
  }
  auto* instance =
      reinterpret_cast<ReturnInstance*>(unwinder->get_gr(context, kRbx));
  UnwindGhost* ghost = &g_ghosts[g_next_ghost++ % kGhosts];
  ghost->return_address = instance->return_address;
  ghost->saved_rbx = instance->saved_rbx;
  ghost->resume = reinterpret_cast<uint64_t>(unwinder->resume);
  unwinder->set_gr(context, kRbx, reinterpret_cast<_Unwind_Word>(ghost));
  EndActivation(instance, EndReason::kUnwound);
  if ((actions & _UA_HANDLER_FRAME) == 0) return _URC_CONTINUE_UNWIND;
  unwinder->set_gr(context, kRax, reinterpret_cast<_Unwind_Word>(exception));
  unwinder->set_gr(context, kRdx, 0);
  unwinder->set_ip(context,
                   reinterpret_cast<_Unwind_Ptr>(&retprobe_landing_pad));
  return _URC_INSTALL_CONTEXT;
}
