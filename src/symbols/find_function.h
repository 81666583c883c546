// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_FIND_FUNCTION_H_
#define RETPROBE_SYMBOLS_FIND_FUNCTION_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "symbols/function.h"

namespace retprobe {

// Finds the one function that `symbol` ("module:function" or "function", no
// globs) names. An ifunc comes resolved (what ResolveIndirect requires goes for
// every loaded module of that name).
//
// The function may be written as in the symbol table, as demangled
// ("ns::f(int)") or as demangled without parameters ("ns::f"); blanks in C++
// names do not matter. Where a name stands for several functions, a symbol's
// own name goes before a demangled one, and the default version of an exported
// one before an old version, before a static function.
//
// "+0x4" or "+4" behind the name is allowed where the function is entered: see
// CheckEntryOffset (symbols/entry_offset.h).
//
// Errors: kNotFound with the nearest name; kInvalidArgument: malformed, or with
//   the candidates when there are several.
absl::StatusOr<Function> FindFunction(absl::string_view symbol);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_FIND_FUNCTION_H_
