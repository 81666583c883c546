// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_LIVE_TABLE_H_
#define RETPROBE_CLI_LIVE_TABLE_H_

#include "cli/options.h"
#include "cli/report.h"

namespace retprobe::cli {

// The table on standard error while the program runs, drawn over itself and
// wiped at the end.
class LiveTable {
 public:
  // Whether there is to be one, by the options and by what is a terminal.
  static bool Wanted(const Options& options);

  void Draw(const Report& report);
  void Clear();

 private:
  int lines_ = 0;  // on the screen
};

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_LIVE_TABLE_H_
