// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_SYMBOL_NAME_H_
#define RETPROBE_SYMBOLS_SYMBOL_NAME_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace retprobe {

// The offset of the ':' between module and function in "module:function"; npos
// in "function". The "::" of C++ names does not count, nor does anything within
// brackets ("f[abi:cxx11]").
size_t ModuleSeparator(absl::string_view symbol);

// "libc.so" of "libc.so.6"; `name` itself when nothing follows ".so".
absl::string_view WithoutSoVersion(absl::string_view name);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_SYMBOL_NAME_H_
