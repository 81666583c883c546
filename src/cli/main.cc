// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "cli/attached.h"
#include "cli/config_command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/program.h"
#include "cli/run.h"
#include "cli/usl.h"
#include "retprobe/version.h"

int main(int argc, char** argv) {
  using namespace retprobe::cli;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty() && arguments[0] == "usl") return RunUsl(argv + 1);
  if (!arguments.empty() && arguments[0] == "config") {
    return RunConfig(absl::MakeSpan(arguments).subspan(1));
  }
  auto options = ParseOptions(arguments);
  if (!options.ok()) {
    Complain(options.status().message());
    return ExitStatusFor(options.status());
  }
  switch (options->command) {
    case Command::kHelp:
      return WriteAll(STDOUT_FILENO, options->help) ? 0 : 125;
    case Command::kVersion:
      return WriteAll(STDOUT_FILENO, "retprobe " RETPROBE_VERSION_STRING "\n")
                 ? 0
                 : 125;
    case Command::kList:
      if (options->attached != 0) return RunAttached(*options);
      return Run(*options);
    case Command::kTrace:
      return Run(*options);
  }
}
