// SPDX-License-Identifier: Apache-2.0
#include "cli/json.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/histogram.h"
#include "cli/report.h"
#include "symbols/symbols.h"

namespace retprobe::cli {
namespace {

// [lowest value, count] of the buckets that are not empty.
std::string Histogram(const FunctionReport& function) {
  std::vector<std::string> buckets;
  for (uint32_t i = 0; i < function.buckets.size(); ++i) {
    if (function.buckets[i] == 0) continue;
    buckets.push_back(absl::StrCat("[", histogram::LowestOf(i), ",",
                                   function.buckets[i], "]"));
  }
  return absl::StrCat("[", absl::StrJoin(buckets, ","), "]");
}

std::string FunctionJson(const FunctionReport& function) {
  std::string text =
      absl::StrCat("{\"module\":", JsonString(function.module),
                   ",\"function\":", JsonString(function.name),
                   ",\"demangled\":", JsonString(Demangle(function.name)),
                   ",\"state\":\"", StateName(function.state), "\"");
  if (function.state == session::FunctionState::kRefused) {
    return absl::StrCat(text, ",\"reason\":", JsonString(function.reason), "}");
  }
  absl::StrAppend(
      &text, ",\"by\":\"",
      (function.traits & session::kTraitTrap) != 0 ? "int3" : "jump", "\"",
      ",\"entry_only\":",
      (function.traits & session::kTraitEntryOnly) != 0 ? "true" : "false");
  absl::StrAppend(&text, ",\"calls\":", function.calls,
                  ",\"returned\":", function.returned(),
                  ",\"unwound\":", function.unwound,
                  ",\"abandoned\":", function.abandoned);
  absl::StrAppend(&text, ",\"missed\":", function.missed(),
                  ",\"missed_empty\":", function.missed_empty,
                  ",\"missed_recursion\":", function.missed_recursion,
                  ",\"missed_dying\":", function.missed_dying,
                  ",\"missed_depth\":", function.missed_depth);
  absl::StrAppend(&text, ",\"missed_limit\":", function.missed_limit,
                  ",\"under_way\":", function.under_way());
  absl::StrAppend(&text, ",\"total_ns\":", function.total,
                  ",\"mean_ns\":", function.mean(),
                  ",\"min_ns\":", function.shortest,
                  ",\"p50_ns\":", function.Percentile(50));
  absl::StrAppend(&text, ",\"p90_ns\":", function.Percentile(90),
                  ",\"p99_ns\":", function.Percentile(99),
                  ",\"max_ns\":", function.longest,
                  ",\"lost_events\":", function.lost_events,
                  ",\"histogram\":", Histogram(function), "}");
  return text;
}

std::string Strings(const std::vector<std::string>& texts) {
  return absl::StrCat(
      "[",
      absl::StrJoin(texts, ",",
                    [](std::string* out, const std::string& text) {
                      absl::StrAppend(out, JsonString(text));
                    }),
      "]");
}

std::string PatternJson(const PatternReport& pattern) {
  return absl::StrCat("{\"pattern\":", JsonString(pattern.text),
                      ",\"functions\":", pattern.functions,
                      ",\"note\":", JsonString(pattern.note), "}");
}

std::string ProcessJson(const ProcessReport& process) {
  return absl::StrCat(
      "{\"pid\":", process.pid, ",\"program\":", JsonString(process.program),
      ",\"calls\":", process.calls, ",\"missed\":", process.missed,
      ",\"total_ns\":", process.total, "}");
}

}  // namespace

size_t Utf8Length(absl::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead < 0x80                    ? 1
                        : lead >= 0xc2 && lead < 0xe0  ? 2
                        : lead >= 0xe0 && lead < 0xf0  ? 3
                        : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                       : 0;
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  return length;
}

std::string JsonString(absl::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const char c = text[0];
    if (length == 0) {
      result += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppend(&result, "\\u", absl::Hex(c, absl::kZeroPad4));
    } else {
      result.append(text.data(), length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return result + "\"";
}

namespace {

std::string ChoiceJson(const Report& report) {
  return absl::StrCat("{\"threads\":", Strings(report.threads),
                      ",\"callers\":", Strings(report.callers),
                      ",\"depth\":", report.depth, ",\"limit\":", report.limit,
                      "}");
}

}  // namespace

std::string RenderJson(const Report& report, bool pretty) {
  const char* separator = pretty ? ",\n" : ",";
  const char* line = pretty ? "\n" : "";
  std::vector<std::string> functions, patterns, processes;
  uint64_t refused = 0;
  for (const auto& [key, function] : report.functions) {
    functions.push_back(FunctionJson(function));
    refused += function.state == session::FunctionState::kRefused;
  }
  for (const PatternReport& pattern : report.patterns) {
    patterns.push_back(PatternJson(pattern));
  }
  for (const ProcessReport& process : report.processes) {
    processes.push_back(ProcessJson(process));
  }
  return absl::StrCat(
      "{\"version\":1,\"probed\":", report.probed(), ",\"refused\":", refused,
      ",\"instances\":", report.instances, ",", line, "\"functions\":[", line,
      absl::StrJoin(functions, separator), "],", line,
      absl::StrCat("\"patterns\":[", absl::StrJoin(patterns, separator), "],",
                   line, "\"processes\":[", absl::StrJoin(processes, separator),
                   "],", line),
      "\"only\":", ChoiceJson(report), ",",
      "\"errors\":", Strings(report.errors),
      ",\"warnings\":", Strings(report.warnings), "}\n");
}

}  // namespace retprobe::cli
