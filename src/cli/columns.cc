// SPDX-License-Identifier: Apache-2.0
#include "cli/columns.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace retprobe::cli {

std::string Columns(const std::vector<Cells>& lines,
                    absl::FunctionRef<bool(size_t)> at_left) {
  std::vector<size_t> widths;
  for (const Cells& cells : lines) {
    widths.resize(std::max(widths.size(), cells.size()));
    for (size_t i = 0; i < cells.size(); ++i) {
      widths[i] = std::max(widths[i], cells[i].size());
    }
  }
  std::string text;
  for (const Cells& cells : lines) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string space(widths[i] - cells[i].size(), ' ');
      const bool left = at_left(i);
      absl::StrAppend(&line, i == 0 ? "" : "  ", left ? cells[i] : space,
                      left ? space : cells[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace retprobe::cli
