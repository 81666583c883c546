// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_BUILD_IDENTITY_H_
#define RETPROBE_SYMBOLS_BUILD_IDENTITY_H_

#include <string>

#include "absl/strings/string_view.h"
#include "symbols/module.h"

namespace retprobe {

// Whether `image`, a file's bytes, is what `module` was loaded from: equal
// program headers and equal notes, of which the build-id is one.
bool SameBuild(const Module& module, absl::string_view image);

// The build-id of `module` in lower-case hexadecimal; empty when it has none.
std::string BuildId(const Module& module);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_BUILD_IDENTITY_H_
