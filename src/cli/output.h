// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_OUTPUT_H_
#define RETPROBE_CLI_OUTPUT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/unique_fd.h"

namespace retprobe::cli {

// Writes everything, or as much as goes; false on an error.
bool WriteAll(int fd, absl::string_view text);

// One line on standard error, by name.
void Complain(absl::string_view text);

// Where a report goes: `path`, or `standard` when that is empty. A descriptor
// of its own either way. Errors: kFailedPrecondition.
absl::StatusOr<UniqueFd> OpenOutput(const std::string& path, int standard);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_OUTPUT_H_
