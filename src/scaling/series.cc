// SPDX-License-Identifier: Apache-2.0
#include "scaling/series.h"

#include <fnmatch.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace retprobe::scaling {
namespace {

bool Matches(const std::string& glob, const std::string& name) {
  return fnmatch(glob.c_str(), name.c_str(), 0) == 0;
}

// Enough names to see what they look like.
std::string SomeOf(const std::set<std::string>& names) {
  constexpr size_t kShown = 8;
  std::string text;
  size_t count = 0;
  for (const std::string& name : names) {
    if (++count > kShown) break;
    absl::StrAppend(&text, count == 1 ? "" : ", ", name);
  }
  if (names.size() > kShown) {
    absl::StrAppend(&text, " and ", names.size() - kShown, " more");
  }
  return text;
}

}  // namespace

bool Selection::Wants(const std::string& name) {
  names.insert(name);
  return globs.empty() ||
         std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
           return Matches(glob, name);
         });
}

absl::StatusOr<std::vector<Series>> ReadSeries(const std::string& file,
                                               absl::string_view content,
                                               Selection& selection) {
  const absl::string_view text = absl::StripLeadingAsciiWhitespace(content);
  if (text.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": is empty; wanted is Google Benchmark's JSON, or CSV"));
  }
  auto* const read =
      text[0] == '{' || text[0] == '[' ? ReadBenchmark : ReadTable;
  auto series = read(file, content, selection);
  if (!series.ok()) return series;
  if (selection.names.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": holds no series"));
  }
  for (const std::string& glob : selection.globs) {
    if (std::none_of(
            selection.names.begin(), selection.names.end(),
            [&](const std::string& name) { return Matches(glob, name); })) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": no series matches '", glob, "'; there are ",
                       SomeOf(selection.names)));
    }
  }
  return series;
}

}  // namespace retprobe::scaling
