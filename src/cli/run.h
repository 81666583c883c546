// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_RUN_H_
#define RETPROBE_CLI_RUN_H_

#include "cli/options.h"

namespace retprobe::cli {

// `retprobe trace` and `retprobe list`. Returns the exit status, or does not
// return where the program's end by a signal is repeated.
int Run(const Options& options);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_RUN_H_
