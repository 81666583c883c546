// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_ENTRY_OFFSET_H_
#define RETPROBE_SYMBOLS_ENTRY_OFFSET_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "symbols/function.h"

namespace retprobe {

// Takes "+0x4" or "+4" off the end of `symbol`; 0 when there is none.
uint64_t TakeOffset(absl::string_view* symbol);

// Whether `offset` bytes into `function` is where it is entered: at its begin,
// or behind the endbr64 there. Reads its code.
// Errors: kInvalidArgument, what is there instead.
absl::Status CheckEntryOffset(const Function& function, uint64_t offset);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_ENTRY_OFFSET_H_
