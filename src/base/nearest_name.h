// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BASE_NEAREST_NAME_H_
#define RETPROBE_BASE_NEAREST_NAME_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace retprobe {

// How many characters must be inserted, removed, replaced or swapped with their
// neighbour to make `b` of `a`; `limit` + 1 when more than `limit`.
size_t EditDistance(absl::string_view a, absl::string_view b, size_t limit);

// Of all names offered, the one most like what a user wrote: at most a third
// of its characters wrong. Cost: bounded by a number of comparisons, after
// which offers are ignored.
class NearestName {
 public:
  explicit NearestName(absl::string_view wanted);

  // `name` is compared, `shown` is what best() gives for it. Of equally near
  // names the first one offered wins.
  void Offer(absl::string_view name, absl::string_view shown);
  void Offer(absl::string_view name) { Offer(name, name); }

  // Empty when nothing was near enough.
  const std::string& best() const { return best_; }

 private:
  std::string wanted_;
  std::string best_;
  size_t limit_;  // an offer must be at most so far
  size_t comparisons_ = 0;
};

}  // namespace retprobe

#endif  // RETPROBE_BASE_NEAREST_NAME_H_
