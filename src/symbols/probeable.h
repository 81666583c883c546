// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_PROBEABLE_H_
#define RETPROBE_SYMBOLS_PROBEABLE_H_

#include "absl/status/status.h"
#include "symbols/function.h"
#include "symbols/module.h"

namespace retprobe {

// Ok, or kFailedPrecondition saying why a function must not be probed whatever
// its code looks like: it returns twice, never returns, looks at its return
// address, has a calling convention of its own, is part of the unwinder, of the
// dynamic linker, of the kernel's vdso or of this library.
//
// Judges by `module` and by all names of `function`. Of a library that is
// linked into a program statically, everything in namespace retprobe is
// refused.
absl::Status Probeable(const Module& module, const Function& function);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_PROBEABLE_H_
