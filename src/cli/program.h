// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_PROGRAM_H_
#define RETPROBE_CLI_PROGRAM_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace retprobe::cli {

struct Program {
  std::string path;                    // what to execute
  std::vector<std::string> arguments;  // [0] as the user wrote it
};

// Finds the program as a shell would (PATH; a text without "#!" is for
// /bin/sh) and makes sure that an agent can be preloaded into it, or into the
// interpreter it names.
//
// Errors: kNotFound; kPermissionDenied, not executable; kFailedPrecondition,
//   saying why nothing can be preloaded.
absl::StatusOr<Program> FindProgram(absl::Span<const std::string> command);

// The agent library: RETPROBE_AGENT, or beside the running executable as built
// or installed. Errors: kFailedPrecondition, naming the places.
absl::StatusOr<std::string> FindAgent();

// The exit status that tells of `status`, which is not ok.
int ExitStatusFor(const absl::Status& status);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_PROGRAM_H_
