// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cli/json.h"
#include "cli/report.h"

namespace retprobe::cli {
namespace {

constexpr uint32_t kJumpSize = 5;
constexpr size_t kNamesShown = 4;

// A reason without the function's name and with N for numbers.
std::string KindOf(const FunctionReport& function) {
  absl::string_view reason = function.reason;
  if (absl::ConsumePrefix(&reason, function.name)) {
    reason.remove_prefix(
        std::min(reason.find_first_not_of(": "), reason.size()));
  }
  std::string kind;
  for (size_t i = 0; i < reason.size(); ++i) {
    const bool hex =
        reason[i] == '0' && i + 1 < reason.size() && reason[i + 1] == 'x';
    const auto digit = [&](char c) {
      return hex ? absl::ascii_isxdigit(static_cast<unsigned char>(c))
                 : absl::ascii_isdigit(static_cast<unsigned char>(c));
    };
    const bool begins =
        i == 0 ||
        !absl::ascii_isalnum(static_cast<unsigned char>(reason[i - 1]));
    if (!begins || !digit(reason[i])) {
      kind += reason[i];
      continue;
    }
    if (hex) ++i;
    while (i + 1 < reason.size() && digit(reason[i + 1])) ++i;
    kind += 'N';
  }
  return kind;
}

std::string Percent(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  char text[16];
  snprintf(text, sizeof(text), "%.2f %%",
           100.0 * static_cast<double>(part) / static_cast<double>(whole));
  return text;
}

std::string FileName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

void Reach::Add(const FunctionReport& function) {
  ModuleReach& module = modules_[function.module];
  Count& count = function.size == 0 || function.size >= kJumpSize
                     ? module.large
                     : module.small;
  ++count.functions;
  if (function.state == session::FunctionState::kRefused) {
    ++count.refused;
    module.refused[KindOf(function)].push_back(function.name);
    return;
  }
  count.traps += (function.traits & session::kTraitTrap) != 0;
  count.entry_only += (function.traits & session::kTraitEntryOnly) != 0;
}

std::string Reach::Table() const {
  std::string text =
      "        5 bytes or more                         "
      "1 to 4 bytes\n"
      "functions  attachable    int3  entry only  refused   "
      "functions  attachable    int3  module\n";
  std::string reasons;
  for (const auto& [path, module] : modules_) {
    const auto number = [](uint64_t value, size_t width) {
      const std::string digits = absl::StrCat(value);
      return std::string(width - std::min(width, digits.size()), ' ') + digits;
    };
    const auto percent = [](uint64_t part, uint64_t whole, size_t width) {
      const std::string digits = Percent(part, whole);
      return std::string(width - std::min(width, digits.size()), ' ') + digits;
    };
    const Count& large = module.large;
    const Count& small = module.small;
    absl::StrAppend(
        &text, number(large.functions, 9),
        percent(large.functions - large.refused, large.functions, 12),
        percent(large.traps, large.functions, 8), number(large.entry_only, 12),
        number(large.refused, 9), number(small.functions, 12),
        percent(small.functions - small.refused, small.functions, 12),
        number(small.traps, 8), "  ", FileName(path), "\n");
    for (const auto& [reason, names] : module.refused) {
      const size_t shown = std::min(names.size(), kNamesShown);
      absl::StrAppend(
          &reasons, number(names.size(), 9), "  ", FileName(path), ": ", reason,
          " (",
          absl::StrJoin(names.begin(),
                        names.begin() + static_cast<std::ptrdiff_t>(shown),
                        ", "),
          shown < names.size() ? ", ..." : "", ")\n");
    }
  }
  return absl::StrCat(text, reasons.empty() ? "" : "\nrefused\n", reasons);
}

std::string Reach::Json() const {
  const auto counts = [](const Count& count) {
    return absl::StrCat("{\"functions\":", count.functions,
                        ",\"attachable\":", count.functions - count.refused,
                        ",\"int3\":", count.traps,
                        ",\"entry_only\":", count.entry_only,
                        ",\"refused\":", count.refused, "}");
  };
  std::vector<std::string> modules;
  for (const auto& [path, module] : modules_) {
    std::vector<std::string> refused;
    for (const auto& [reason, names] : module.refused) {
      refused.push_back(absl::StrCat(
          "{\"reason\":", JsonString(reason), ",\"count\":", names.size(),
          ",\"functions\":[",
          absl::StrJoin(names, ",",
                        [](std::string* out, const std::string& name) {
                          absl::StrAppend(out, JsonString(name));
                        }),
          "]}"));
    }
    modules.push_back(absl::StrCat(
        "{\"module\":", JsonString(path), ",\"large\":", counts(module.large),
        ",\"small\":", counts(module.small), ",\"refused\":[",
        absl::StrJoin(refused, ","), "]}"));
  }
  return absl::StrCat("{\"version\":1,\"modules\":[\n",
                      absl::StrJoin(modules, ",\n"), "]}\n");
}

}  // namespace retprobe::cli
