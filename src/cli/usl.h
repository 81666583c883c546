// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_USL_H_
#define RETPROBE_CLI_USL_H_

namespace retprobe::cli {

// Becomes the program retprobe-usl, which is built where a solver is; argv[0]
// is "usl". Returns an exit status when there is none, having said so.
int RunUsl(char** argv);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_USL_H_
