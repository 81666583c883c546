// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cli/columns.h"
#include "cli/report.h"

namespace retprobe::cli {
namespace {

using session::FunctionState;

constexpr const char* kUnits[] = {"ns", "us", "ms", "s "};

// Right-aligned columns, but the last.
std::string Align(const std::vector<Cells>& lines) {
  const size_t last = lines[0].size() - 1;
  return Columns(lines, [last](size_t column) { return column == last; });
}

// In groups of three, so that millions are seen to be millions.
std::string HumanCount(uint64_t count) {
  std::string digits = absl::StrCat(count);
  for (size_t at = digits.size(); at > 3; at -= 3) {
    digits.insert(at - 3, 1, '\'');
  }
  return digits;
}

struct Totals {
  uint64_t probed = 0, called = 0, refused = 0, calls = 0;
  uint64_t missed = 0, empty = 0, recursion = 0, dying = 0;
  uint64_t depth = 0, limit = 0;
  uint64_t abandoned = 0, lost_events = 0;
};

Totals SumUp(const Report& report) {
  Totals totals;
  for (const auto& [key, function] : report.functions) {
    const bool refused = function.state == FunctionState::kRefused;
    ++(refused ? totals.refused : totals.probed);
    totals.called += function.calls != 0;
    totals.calls += function.calls;
    totals.missed += function.missed();
    totals.empty += function.missed_empty;
    totals.recursion += function.missed_recursion;
    totals.dying += function.missed_dying;
    totals.depth += function.missed_depth;
    totals.limit += function.missed_limit;
    totals.abandoned += function.abandoned;
    totals.lost_events += function.lost_events;
  }
  return totals;
}

// "main", or "not main".
void AppendThread(std::string* text, absl::string_view thread) {
  const bool except = absl::ConsumePrefix(&thread, "!");
  absl::StrAppend(text, except ? "not " : "", thread);
}

std::string TotalsLine(const Report& report, const Totals& totals) {
  std::string line = absl::StrCat(HumanCount(totals.calls), " calls, ",
                                  HumanCount(totals.missed), " missed");
  if (totals.missed != 0) {
    absl::StrAppend(&line, " (no instance ", totals.empty, ", in a handler ",
                    totals.recursion, ", detaching ", totals.dying);
    if (totals.depth != 0) {
      absl::StrAppend(&line, ", deeper than ", report.depth, " ", totals.depth);
    }
    if (totals.limit != 0) {
      absl::StrAppend(&line, ", after the first ", report.limit, " ",
                      totals.limit);
    }
    absl::StrAppend(&line, ")");
  }
  absl::StrAppend(&line, "; ", totals.probed, " functions probed, ",
                  totals.called, " of them called");
  if (totals.refused != 0) {
    absl::StrAppend(&line, "; ", totals.refused,
                    " cannot be probed (retprobe list says why)");
  }
  if (report.instances != 0) {
    absl::StrAppend(&line, "; ", report.instances, " instances");
  }
  if (report.processes.size() > 1) {
    absl::StrAppend(&line, "; ", report.processes.size(), " processes");
  }
  if (totals.lost_events != 0) {
    absl::StrAppend(&line, "; ", totals.lost_events, " events lost");
  }
  if (!report.threads.empty()) {
    absl::StrAppend(&line, "; only threads ",
                    absl::StrJoin(report.threads, ", ", AppendThread));
  }
  if (!report.callers.empty()) {
    absl::StrAppend(&line, "; only callers ",
                    absl::StrJoin(report.callers, ", "));
  }
  return line + "\n";
}

}  // namespace

std::string HumanDuration(uint64_t nanoseconds) {
  int unit = 0;
  double value = static_cast<double>(nanoseconds);
  while (value >= 999.5 && unit < 3) {
    value /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  char text[64];
  snprintf(text, sizeof(text), "%.*f %s", decimals, value, kUnits[unit]);
  return text;
}

std::string RenderTable(const Report& report, size_t rows) {
  std::vector<const FunctionReport*> called;
  for (const auto& [key, function] : report.functions) {
    if (function.calls != 0 || function.missed() != 0) {
      called.push_back(&function);
    }
  }
  std::stable_sort(called.begin(), called.end(),
                   [](const FunctionReport* a, const FunctionReport* b) {
                     return a->total > b->total;
                   });
  if (rows != 0 && called.size() > rows) called.resize(rows);
  const Totals totals = SumUp(report);
  std::vector<Cells> lines = {{"calls", "missed", "unwound"}};
  if (totals.abandoned != 0) lines[0].push_back("abandoned");
  for (const char* title : {"total", "mean", "p50", "p99", "max", "function"}) {
    lines[0].push_back(title);
  }
  for (const FunctionReport* function : called) {
    Cells cells = {HumanCount(function->calls), HumanCount(function->missed()),
                   HumanCount(function->unwound)};
    if (totals.abandoned != 0) {
      cells.push_back(HumanCount(function->abandoned));
    }
    for (uint64_t duration :
         {function->total, function->mean(), function->Percentile(50),
          function->Percentile(99), function->longest}) {
      cells.push_back(HumanDuration(duration));
    }
    cells.push_back(DisplayName(function->module, function->name));
    if (function->traits != 0) {
      absl::StrAppend(&cells.back(), " (", HowProbed(*function), ")");
    }
    lines.push_back(cells);
  }
  return Align(lines) + TotalsLine(report, totals);
}

std::string RenderAttached(const Report& report) {
  std::vector<Cells> lines = {{"state", "calls", "under way", "no instance",
                               "in a handler", "detaching", "too deep",
                               "too late", "function"}};
  for (const auto& [key, function] : report.functions) {
    Cells cells = {StateName(function.state)};
    for (const uint64_t count :
         {function.calls, function.under_way(), function.missed_empty,
          function.missed_recursion, function.missed_dying,
          function.missed_depth, function.missed_limit}) {
      cells.push_back(HumanCount(count));
    }
    std::string name = DisplayName(function.module, function.name);
    if (!function.reason.empty()) absl::StrAppend(&name, ": ", function.reason);
    cells.push_back(std::move(name));
    lines.push_back(std::move(cells));
  }
  return Align(lines) + TotalsLine(report, SumUp(report));
}

std::string RenderList(const Report& report, bool refused_only) {
  std::string text;
  uint64_t refused = 0;
  for (const auto& [key, function] : report.functions) {
    const std::string name = DisplayName(function.module, function.name);
    if (function.state != FunctionState::kRefused) {
      absl::StrAppend(&text, "probe   ", name);
      if (function.traits != 0) {
        absl::StrAppend(&text, " (", HowProbed(function), ")");
      }
      text += '\n';
    } else {
      absl::StrAppend(&text, "refuse  ", name, ": ", function.reason, "\n");
      ++refused;
    }
  }
  if (refused_only) {
    absl::StrAppend(&text, refused, " functions cannot be probed\n");
  } else {
    absl::StrAppend(&text, report.probed(), " functions can be probed, ",
                    refused, " cannot\n");
  }
  return text;
}

}  // namespace retprobe::cli
