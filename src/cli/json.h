// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_JSON_H_
#define RETPROBE_CLI_JSON_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace retprobe::cli {

// `text` as a JSON string, quotes included. Bytes that are not UTF-8 (a file
// name may hold any) become U+FFFD.
std::string JsonString(absl::string_view text);

// Length of the UTF-8 sequence at the front of `text`, which is not empty; 0
// when there is none.
size_t Utf8Length(absl::string_view text);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_JSON_H_
