// SPDX-License-Identifier: Apache-2.0
#include "scaling/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/columns.h"

namespace retprobe::scaling {
namespace {

using cli::Cells;

std::string Format(const char* format, double value) {
  if (std::isinf(value)) return "inf";
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

std::string Rate(double value) { return Format("%.3g", value); }

std::string Peak(double value) {
  return value < 1e6 ? Format("%.0f", value) : Format("%.3g", value);
}

std::string Criterion(const std::optional<Fit>& fit) {
  if (!fit.has_value() || std::isinf(fit->aicc)) return "-";
  return Format("%.1f", fit->aicc);
}

template <typename Print>
std::string Between(const Interval& interval, Print print) {
  return absl::StrCat(print(interval.low), "..", print(interval.high));
}

Cells Header(const Question& question) {
  Cells cells = {"series", "threads", "law",     "g",           "a",
                 "b",      "peak",    "rms log", "AICc amdahl", "AICc usl"};
  for (const int threads : question.predict) {
    cells.push_back(absl::StrCat("X(", threads, ")"));
  }
  return cells;
}

void AddRow(const Segment& segment, const Question& question,
            std::vector<Cells>& lines) {
  const Fit& fit = segment.fit();
  const bool usl = fit.law == Law::kUsl;
  const Intervals& intervals = segment.intervals;
  Cells values = {segment.series,
                  absl::StrCat(segment.from, "-", segment.to),
                  LawName(fit.law),
                  Short(fit.curve.g),
                  Rate(fit.curve.a),
                  usl ? Rate(fit.curve.b) : "-",
                  Peak(fit.curve.Peak()),
                  Format("%.3f", fit.rms_log),
                  Criterion(segment.amdahl),
                  Criterion(segment.usl)};
  Cells between = {"  95 %",
                   "",
                   "",
                   Between(intervals.g, Short),
                   Between(intervals.a, Rate),
                   usl ? Between(intervals.b, Rate) : "",
                   usl ? Between(intervals.peak, Peak) : "",
                   "",
                   "",
                   ""};
  for (const int threads : question.predict) {
    const auto found =
        std::find_if(segment.predictions.begin(), segment.predictions.end(),
                     [&](const Prediction& p) { return p.threads == threads; });
    const bool here = found != segment.predictions.end();
    values.push_back(here ? Short(found->throughput) : "");
    between.push_back(here ? Between(found->interval, Short) : "");
  }
  lines.push_back(std::move(values));
  lines.push_back(std::move(between));
}

std::string Title(const Segment& segment) {
  std::string title = segment.series;
  if (!segment.points.empty()) {
    absl::StrAppend(&title, " (", segment.from, "-", segment.to, ")");
  }
  return title;
}

// Each remark once, with all that it is about.
class Remarks {
 public:
  void Add(const std::string& remark, const std::string& title) {
    const auto found =
        std::find_if(remarks_.begin(), remarks_.end(),
                     [&](const auto& known) { return known.first == remark; });
    if (found != remarks_.end()) {
      absl::StrAppend(&found->second, ", ", title);
    } else {
      remarks_.emplace_back(remark, title);
    }
  }

  std::string Render() const {
    std::string text;
    for (const auto& [remark, titles] : remarks_) {
      absl::StrAppend(&text, "\n", titles, ":\n  ", remark, "\n");
    }
    return text;
  }

 private:
  std::vector<std::pair<std::string, std::string>> remarks_;
};

}  // namespace

std::string Short(double value) {
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T", "P"};
  size_t prefix = 0;
  // What %.3g would round up to 1000 belongs to the next prefix.
  while (std::abs(value) >= 999.5 && prefix + 1 < std::size(kPrefixes)) {
    value /= 1000;
    ++prefix;
  }
  return absl::StrCat(Format("%.3g", value), kPrefixes[prefix]);
}

std::string RenderTable(const std::vector<Segment>& segments,
                        const Question& question) {
  std::vector<Cells> lines = {Header(question)};
  Remarks remarks;
  for (const Segment& segment : segments) {
    if (segment.error.empty()) {
      AddRow(segment, question, lines);
      for (const std::string& remark : segment.remarks) {
        remarks.Add(remark, Title(segment));
      }
    } else {
      remarks.Add(absl::StrCat("not fitted: ", segment.error), Title(segment));
    }
  }
  return absl::StrCat(
      cli::Columns(lines, [](size_t column) { return column == 0; }),
      remarks.Render());
}

}  // namespace retprobe::scaling
