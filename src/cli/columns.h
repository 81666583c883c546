// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_COLUMNS_H_
#define RETPROBE_CLI_COLUMNS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"

namespace retprobe::cli {

// The cells of a line.
using Cells = std::vector<std::string>;

// Lines as a table: two blanks between columns, cells at the left where
// `at_left(column)`, else at the right; no blanks at the ends of lines.
std::string Columns(const std::vector<Cells>& lines,
                    absl::FunctionRef<bool(size_t)> at_left);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_COLUMNS_H_
