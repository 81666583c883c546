// SPDX-License-Identifier: Apache-2.0
#include "cli/live_table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/output.h"

namespace retprobe::cli {
namespace {

constexpr char kClearBelow[] = "\x1b[J";

winsize TerminalSize() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) {
    size.ws_row = 24;
    size.ws_col = 80;
  }
  return size;
}

}  // namespace

bool LiveTable::Wanted(const Options& options) {
  if (options.live == LiveWish::kNever || isatty(STDERR_FILENO) == 0) {
    return false;
  }
  if (options.live == LiveWish::kAlways) return true;
  // A program that writes to the terminal has it for itself.
  return options.output.empty() && !options.json && !options.events &&
         isatty(STDOUT_FILENO) == 0;
}

void LiveTable::Draw(const Report& report) {
  const winsize size = TerminalSize();
  const size_t rows = size.ws_row > 6 ? size.ws_row - 4u : 2u;
  std::vector<std::string> lines =
      absl::StrSplit(RenderTable(report, rows), '\n', absl::SkipEmpty());
  std::string text = lines_ == 0 ? "" : absl::StrCat("\x1b[", lines_, "A");
  absl::StrAppend(&text, "\r", kClearBelow);
  for (const std::string& line : lines) {
    absl::StrAppend(&text, line.substr(0, size.ws_col), "\n");
  }
  lines_ = static_cast<int>(lines.size());
  WriteAll(STDERR_FILENO, text);
}

void LiveTable::Clear() {
  if (lines_ == 0) return;
  WriteAll(STDERR_FILENO, absl::StrCat("\x1b[", lines_, "A\r", kClearBelow));
  lines_ = 0;
}

}  // namespace retprobe::cli
