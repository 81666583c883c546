// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_LLVM_CURSOR_H_
#define RETPROBE_RETHOOK_LLVM_CURSOR_H_

#include "rethook/unwinder.h"

namespace retprobe {

// A copy of LLVM's unwinder inside a program that does not export it, as one
// that is linked with libunwind.a and traced. Its contexts are objects whose
// virtual functions do what the missing names would: libunwind's class
// AbstractUnwindCursor, the same from version 3.6 to 19 as far as it is used
// here.

// Whether `context` is such an object of the module at [begin, end).
bool IsLlvmCursor(_Unwind_Context* context, uintptr_t begin, uintptr_t end);

// Its functions; `resume` is null, for there is none.
extern const Unwinder kLlvmCursor;

// In place of a landing pad that would have to resume: takes the cursor on to
// the caller's frame and returns that frame's personality routine in `routine`
// (null: it has none). False: the stack ends there.
bool StepToCaller(_Unwind_Context* context, _Unwind_Personality_Fn* routine);

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_LLVM_CURSOR_H_
