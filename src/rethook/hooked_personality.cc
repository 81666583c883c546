// SPDX-License-Identifier: Apache-2.0
//
// What happens to a hooked activation when its frame is unwound. In contrast to
// the trampoline's (personality.cc) every frame is landed on: unwinders read
// its return address from the record, which is found from the program counter,
// so that no copy can take its place, and it must not be given back before they
// have.
#include "rethook/hooked.h"
#include "rethook/personality.h"
#include "rethook/unwinder.h"

extern "C" __attribute__((visibility("hidden"))) _Unwind_Reason_Code
retprobe_hooked_personality(int version, _Unwind_Action actions, uint64_t,
                            _Unwind_Exception* exception,
                            _Unwind_Context* context) {
  using namespace retprobe;
  if (version != 1) return _URC_FATAL_PHASE1_ERROR;
  if ((actions & _UA_CLEANUP_PHASE) == 0) return _URC_CONTINUE_UNWIND;
  const Unwinder* unwinder = FindUnwinder(
      reinterpret_cast<uintptr_t>(__builtin_return_address(0)), context);
  const auto pc = static_cast<uintptr_t>(unwinder->get_ip(context));
  SlotRecord* record = RecordAt(pc);
  // Elsewhere in a slot (a cancellation at that very instruction) it has been
  // entered, or left.
  if (record == nullptr || pc != ReturnInto(record)) {
    return _URC_CONTINUE_UNWIND;
  }
  record->resume = reinterpret_cast<uint64_t>(unwinder->resume);
  constexpr int kRax = 0;
  constexpr int kRdx = 1;
  unwinder->set_gr(context, kRax, reinterpret_cast<_Unwind_Word>(exception));
  unwinder->set_gr(context, kRdx, reinterpret_cast<_Unwind_Word>(record));
  unwinder->set_ip(context,
                   reinterpret_cast<_Unwind_Ptr>(&retprobe_hooked_landing_pad));
  return _URC_INSTALL_CONTEXT;
}
