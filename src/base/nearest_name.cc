// SPDX-License-Identifier: Apache-2.0
#include "base/nearest_name.h"

#include <algorithm>
#include <array>
#include <utility>

namespace retprobe {
namespace {

constexpr size_t kMaxLength = 255;  // longer names are never suggested
constexpr size_t kMaxComparisons = 200'000;

}  // namespace

size_t EditDistance(absl::string_view a, absl::string_view b, size_t limit) {
  const size_t difference =
      a.size() > b.size() ? a.size() - b.size() : b.size() - a.size();
  if (difference > limit || b.size() > kMaxLength) return limit + 1;
  // Three rows of the matrix "prefix of a against prefix of b" (optimal string
  // alignment); a row whose least entry is above the limit settles it.
  using Row = std::array<size_t, kMaxLength + 1>;
  Row rows[3];
  Row* before = &rows[0];
  Row* last = &rows[1];
  Row* row = &rows[2];
  for (size_t j = 0; j <= b.size(); ++j) (*last)[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    (*row)[0] = i;
    size_t least = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t cost = std::min((*last)[j], (*row)[j - 1]) + 1;
      cost = std::min(cost, (*last)[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost = std::min(cost, (*before)[j - 2] + 1);
      }
      (*row)[j] = cost;
      least = std::min(least, cost);
    }
    if (least > limit) return limit + 1;
    std::swap(before, last);
    std::swap(last, row);
  }
  return std::min((*last)[b.size()], limit + 1);
}

NearestName::NearestName(absl::string_view wanted)
    : wanted_(wanted), limit_(std::max<size_t>(1, wanted.size() / 3)) {}

void NearestName::Offer(absl::string_view name, absl::string_view shown) {
  const size_t difference = name.size() > wanted_.size()
                                ? name.size() - wanted_.size()
                                : wanted_.size() - name.size();
  if (difference > limit_ || comparisons_ >= kMaxComparisons) return;
  ++comparisons_;
  const size_t distance = EditDistance(wanted_, name, limit_);
  if (distance > limit_) return;
  best_ = std::string(shown);
  // From now on only nearer ones; 0 cannot be beaten.
  if (distance == 0) comparisons_ = kMaxComparisons;
  limit_ = distance == 0 ? 0 : distance - 1;
}

}  // namespace retprobe
