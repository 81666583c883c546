// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_ATTACHED_H_
#define RETPROBE_CLI_ATTACHED_H_

#include "cli/options.h"

namespace retprobe::cli {

// `retprobe list --attached PID`: what the agent in a running process probes,
// and has counted. Returns the exit status.
int RunAttached(const Options& options);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_ATTACHED_H_
