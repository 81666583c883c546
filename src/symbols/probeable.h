// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_PROBEABLE_H_
#define RETPROBE_SYMBOLS_PROBEABLE_H_

#include "absl/status/status.h"
#include "symbols/function.h"
#include "symbols/module.h"

namespace retprobe {

// Ok, or kFailedPrecondition saying why a function must not be probed whatever
// its code looks like: it is called before a thread is set up, is returned to
// rather than called, has a calling convention of its own, is part of the
// dynamic linker, of the kernel's vdso or of this library.
//
// Judges by `module` and by all names of `function`. Of a library that is
// linked into a program statically, everything in namespace retprobe is
// refused.
absl::Status Probeable(const Module& module, const Function& function);

// Completes "NAME ..." when the function must find its return address where the
// caller put it, or has no return to see: it returns twice (setjmp), never
// (exit), asks who called it (dlsym), unwinds, switches stacks, or belongs to a
// virtual machine. Null for all others. Its entry can be probed, not its
// return.
const char* WhyEntryOnly(const Module& module, const Function& function);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_PROBEABLE_H_
