// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_SLOW_PATH_H_
#define RETPROBE_RETHOOK_SLOW_PATH_H_

#include <unwind.h>

#include <cstdint>

#include "rethook/unwinder.h"

// A slow path, C++ that takes an instance or gives one back, which a signal
// handler is about to leave for good. What it has in hand, and what it has
// begun in the pool, nobody else can know, so it is finished first: the
// interrupted context goes on, and when the slow path returns, the jump is made
// or the unwinding begun again, from there.
namespace retprobe {

// Where a walk of the stack has come by such a slow path.
struct InterruptedSlowPath {
  uintptr_t signal_frame = 0;  // the ucontext_t of the signal that came
  uintptr_t sp = 0;            // of the trampoline's frame; 0: there is none
};

// Finishes it, then calls `jump` (one of libc's longjmps) with a copy of
// `buffer` and `value`.
[[noreturn]] void FinishThenJump(const InterruptedSlowPath& path,
                                 const void* jump, const void* buffer,
                                 int value);

// Finishes the slow path that the caller, a personality routine, has come to,
// then unwinds on. Returns if no signal has interrupted it.
void FinishThenUnwind(const Unwinder& unwinder, _Unwind_Exception* exception);

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_SLOW_PATH_H_
