// SPDX-License-Identifier: Apache-2.0
#include "cli/report.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "agent/histogram.h"
#include "symbols/symbols.h"

namespace retprobe::cli {

uint64_t FunctionReport::timed() const {
  return std::accumulate(buckets.begin(), buckets.end(), uint64_t{0});
}

uint64_t FunctionReport::Percentile(uint32_t percent) const {
  if (buckets.empty()) return 0;
  // A bucket's middle may lie outside what was measured.
  return std::clamp(histogram::Percentile(buckets.data(), timed(), percent),
                    std::min(shortest, longest), longest);
}

void FunctionReport::Add(const FunctionReport& other) {
  // One process may have been refused what another was not.
  if (other.state == session::FunctionState::kProbed) {
    state = other.state;
    traits |= other.traits;
    reason.clear();
  }
  calls += other.calls;
  unwound += other.unwound;
  abandoned += other.abandoned;
  missed_empty += other.missed_empty;
  missed_recursion += other.missed_recursion;
  missed_dying += other.missed_dying;
  missed_depth += other.missed_depth;
  missed_limit += other.missed_limit;
  total += other.total;
  lost_events += other.lost_events;
  longest = std::max(longest, other.longest);
  if (other.buckets.empty()) return;
  shortest =
      buckets.empty() ? other.shortest : std::min(shortest, other.shortest);
  buckets.resize(other.buckets.size());
  for (size_t i = 0; i < buckets.size(); ++i) buckets[i] += other.buckets[i];
}

void Report::Add(const FunctionReport& function) {
  auto [place, added] =
      functions.try_emplace({function.module, function.name}, function);
  if (!added) place->second.Add(function);
  reach.Add(function);
}

bool Report::matched_anything() const {
  return std::any_of(
      patterns.begin(), patterns.end(),
      [](const PatternReport& pattern) { return pattern.functions != 0; });
}

uint64_t Report::probed() const {
  return static_cast<uint64_t>(
      std::count_if(functions.begin(), functions.end(), [](const auto& entry) {
        return entry.second.state != session::FunctionState::kRefused;
      }));
}

std::string HowProbed(const FunctionReport& function) {
  return absl::StrCat(
      (function.traits & session::kTraitTrap) != 0 ? "int3" : "jump",
      (function.traits & session::kTraitEntryOnly) != 0 ? ", entry only" : "");
}

void KeepRefused(Report& report) {
  std::erase_if(report.functions, [](const auto& entry) {
    return entry.second.state != session::FunctionState::kRefused;
  });
}

const char* StateName(session::FunctionState state) {
  switch (state) {
    case session::FunctionState::kProbed:
      return "probed";
    case session::FunctionState::kGone:
      return "gone";
    case session::FunctionState::kRefused:
      break;
  }
  return "refused";
}

std::string DisplayName(const std::string& module, const std::string& name) {
  return absl::StrCat(module.substr(module.rfind('/') + 1), ":",
                      Demangle(name));
}

}  // namespace retprobe::cli
