// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_CONFIG_COMMAND_H_
#define RETPROBE_CLI_CONFIG_COMMAND_H_

#include <string>

#include "absl/types/span.h"

namespace retprobe::cli {

// `retprobe config` with what stands behind it. Returns the exit status.
int RunConfig(absl::Span<const std::string> arguments);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_CONFIG_COMMAND_H_
