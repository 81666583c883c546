// SPDX-License-Identifier: Apache-2.0
#include "probe/filter.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "symbols/symbols.h"

namespace retprobe {
namespace {

// Ascending, each once, the calling thread's for 0.
absl::StatusOr<std::vector<int32_t>> ThreadIds(const std::vector<pid_t>& ids) {
  std::vector<int32_t> sorted;
  for (const pid_t id : ids) {
    if (id < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "thread ", id, " cannot be; an id as gettid() tells, or 0 for the ",
          "calling thread"));
    }
    sorted.push_back(id == 0 ? gettid() : id);
  }
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  return sorted;
}

}  // namespace

CodeSet::CodeSet(std::vector<AddressRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const AddressRange& a, const AddressRange& b) {
              return a.begin < b.begin;
            });
  std::vector<AddressRange> disjoint;
  for (const AddressRange& range : ranges) {
    if (range.begin >= range.end) continue;
    if (!disjoint.empty() && range.begin <= disjoint.back().end) {
      disjoint.back().end = std::max(disjoint.back().end, range.end);
    } else {
      disjoint.push_back(range);
    }
  }
  if (disjoint.empty()) return;
  disjoint.shrink_to_fit();
  ranges_ =
      std::make_shared<const std::vector<AddressRange>>(std::move(disjoint));
}

absl::StatusOr<CodeSet> CodeSet::Find(absl::string_view text) {
  absl::StatusOr<std::vector<AddressRange>> ranges = FindCode(text);
  if (!ranges.ok()) return ranges.status();
  return CodeSet(*std::move(ranges));
}

const std::vector<AddressRange>& CodeSet::ranges() const {
  static const auto& none = *new std::vector<AddressRange>;
  return empty() ? none : *ranges_;
}

CodeSet CodeSet::operator|(const CodeSet& other) const {
  if (other.empty()) return *this;
  std::vector<AddressRange> all = ranges();
  all.insert(all.end(), other.ranges().begin(), other.ranges().end());
  return CodeSet(std::move(all));
}

bool CodeSet::operator==(const CodeSet& other) const {
  return std::equal(ranges().begin(), ranges().end(), other.ranges().begin(),
                    other.ranges().end(),
                    [](const AddressRange& a, const AddressRange& b) {
                      return a.begin == b.begin && a.end == b.end;
                    });
}

bool CodeSet::Contains(uintptr_t address) const {
  return std::any_of(ranges().begin(), ranges().end(),
                     [address](const AddressRange& range) {
                       return range.begin <= address && address < range.end;
                     });
}

void DropFilter::operator()(Filter* filter) const {
  filter->current = false;
  if (filter->lists == 0) delete filter;
}

void UnnameFilter(const CallChecks* checks) {
  if (checks == nullptr) return;
  auto* filter = static_cast<Filter*>(const_cast<CallChecks*>(checks));
  if (--filter->lists == 0 && !filter->current) delete filter;
}

absl::StatusOr<OwnedFilter> MakeFilter(const CallFilter& wanted) {
  if (wanted.empty()) return nullptr;
  auto only = ThreadIds(wanted.threads);
  auto except = ThreadIds(wanted.except_threads);
  if (!only.ok()) return only.status();
  if (!except.ok()) return except.status();
  OwnedFilter filter(new Filter);
  filter->current = true;
  if (only->empty()) {
    filter->ids = *std::move(except);
    if (!filter->ids.empty()) {
      filter->threads_rule = CallChecks::Threads::kAllBut;
    }
  } else {
    std::set_difference(only->begin(), only->end(), except->begin(),
                        except->end(), std::back_inserter(filter->ids));
    if (filter->ids.empty()) {
      return absl::InvalidArgumentError(
          "the filter leaves no thread: every one of its threads is also "
          "excepted");
    }
    filter->threads_rule = CallChecks::Threads::kOnly;
  }
  filter->threads = filter->ids.data();
  filter->thread_count = static_cast<uint32_t>(filter->ids.size());
  filter->code = wanted.callers;
  filter->callers = filter->code.ranges().data();
  filter->caller_count = filter->code.ranges().size();
  return filter;
}

}  // namespace retprobe
