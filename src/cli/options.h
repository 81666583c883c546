// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_OPTIONS_H_
#define RETPROBE_CLI_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace retprobe::cli {

enum class Command { kTrace, kList, kHelp, kVersion };
enum class LiveWish { kAutomatic, kAlways, kNever };

struct Options {
  Command command = Command::kHelp;
  std::string help;  // of kHelp: the text
  std::vector<std::string> patterns;
  std::string output;  // empty: stderr
  bool json = false;
  bool reach = false;  // list: how much of each module
  bool events = false;
  bool follow = false;
  bool refused = false;  // of list: only what cannot be probed
  int attached = 0;      // of list: the process to look into; 0: none
  LiveWish live = LiveWish::kAutomatic;

  // Which calls are meant.
  std::vector<std::string> threads;  // "main" or an id, '!' before: not these
  std::vector<std::string> callers;  // as CodeSet::Find has them
  uint32_t depth = 0;                // 0: any
  uint64_t limit = 0;                // calls of each function; 0: any
  std::vector<std::string> program;  // and its arguments
};

// Understands a command line without its first word.
// Errors: kInvalidArgument, with what to say to the user.
absl::StatusOr<Options> ParseOptions(absl::Span<const std::string> arguments);

// What `retprobe --help` and `retprobe COMMAND --help` print.
std::string GeneralHelp();
std::string TraceHelp();
std::string ListHelp();

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_OPTIONS_H_
