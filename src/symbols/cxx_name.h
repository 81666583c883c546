// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_CXX_NAME_H_
#define RETPROBE_SYMBOLS_CXX_NAME_H_

#include <string>

#include "absl/strings/string_view.h"

namespace retprobe {

// The C++ name of `mangled`, or `mangled` itself.
std::string Demangle(absl::string_view mangled);

// "ns::f<int>" of "void ns::f<int>(char*) const": a demangled name without
// return type, parameters and what follows them. A name that is not a
// function's (a thunk to one, a guard variable) or that a compiler made from
// one ("f() [clone .part.0]") stays whole.
absl::string_view QualifiedName(absl::string_view demangled);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_CXX_NAME_H_
