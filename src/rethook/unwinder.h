// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_UNWINDER_H_
#define RETPROBE_RETHOOK_UNWINDER_H_

#include <unwind.h>

#include <cstdint>

namespace retprobe {

// The functions of one unwinder. A process may hold several (libgcc_s, LLVM's,
// nongnu libunwind, a static copy), and a context is only understood by the one
// that made it.
struct Unwinder {
  _Unwind_Word (*get_gr)(_Unwind_Context*, int);
  void (*set_gr)(_Unwind_Context*, int, _Unwind_Word);
  _Unwind_Ptr (*get_ip)(_Unwind_Context*);
  _Unwind_Ptr (*get_ip_info)(_Unwind_Context*, int* interrupted);
  void (*set_ip)(_Unwind_Context*, _Unwind_Ptr);
  void (*resume)(_Unwind_Exception*);
  _Unwind_Reason_Code (*forced_unwind)(_Unwind_Exception*, _Unwind_Stop_Fn,
                                       void*);
};

// The unwinder that the code at `caller` belongs to: the one its module
// exports, else a hidden copy of LLVM's that made `context` (llvm_cursor.h),
// else the one this library is linked with.
//
// Signals: async-signal-safe. Allocates nothing; takes no lock.
const Unwinder* FindUnwinder(uintptr_t caller, _Unwind_Context* context);

// What the module that contains `address` exports as `name`, or null.
//
// Signals: as above.
void* FindExported(const void* address, const char* name);

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_UNWINDER_H_
