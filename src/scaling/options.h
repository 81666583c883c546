// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_OPTIONS_H_
#define RETPROBE_SCALING_OPTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "scaling/analysis.h"
#include "scaling/series.h"

namespace retprobe::scaling {

struct Options {
  std::string file;  // "-" is standard input
  Selection selection;
  Question question;
  bool by_package = false;  // segments from the topology
  std::string svg;          // file; empty: none
  bool linear_axes = false;
  bool json = false;
  bool help = false;
};

// Understands what follows `retprobe usl`; argv[0] is ignored, and the order of
// the others changed. Errors: kInvalidArgument, with what to say to the user.
absl::StatusOr<Options> ParseOptions(int argc, char** argv);

std::string Help();

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_OPTIONS_H_
