// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_GLOB_H_
#define RETPROBE_SYMBOLS_GLOB_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace retprobe {

// Whether `text` as a whole matches the shell glob `glob`: * is any run of
// characters, slashes too, ? any one, [a-z] and [!a-z] (or [^a-z]) one of or
// none of a set, \ the next character itself. Bytes, no locale. Allocates
// nothing. Requires: `glob` is well formed.
bool GlobMatches(absl::string_view glob, absl::string_view text);

// The offset behind the set that starts with '[' at `open`; npos when nothing
// closes it. As in fnmatch(3), a ']' that comes first is part of the set.
size_t BehindGlobSet(absl::string_view glob, size_t open);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_GLOB_H_
