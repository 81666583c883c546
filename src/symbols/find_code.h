// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_FIND_CODE_H_
#define RETPROBE_SYMBOLS_FIND_CODE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retprobe/address_range.h"

namespace retprobe {

// What CodeSet::Find (retprobe/call_filter.h) finds, in no order.
absl::StatusOr<std::vector<AddressRange>> FindCode(absl::string_view text);

// Whether it could find anything. Errors: kInvalidArgument.
absl::Status CheckCodeText(absl::string_view text);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_FIND_CODE_H_
