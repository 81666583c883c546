// SPDX-License-Identifier: Apache-2.0
#include "symbols/entry_offset.h"

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace retprobe {
namespace {

constexpr unsigned char kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

}  // namespace

uint64_t TakeOffset(absl::string_view* symbol) {
  const size_t plus = symbol->rfind('+');
  if (plus == absl::string_view::npos || plus == 0) return 0;
  const absl::string_view digits = symbol->substr(plus + 1);
  uint64_t offset;
  const bool number = absl::StartsWith(digits, "0x")
                          ? absl::SimpleHexAtoi(digits, &offset)
                          : absl::SimpleAtoi(digits, &offset);
  if (!number) return 0;
  symbol->remove_suffix(symbol->size() - plus);
  return offset;
}

absl::Status CheckEntryOffset(const Function& function, uint64_t offset) {
  if (offset == 0) return absl::OkStatus();
  const std::string where =
      absl::StrCat(function.name, "+0x", absl::Hex(offset));
  if (function.size != 0 && offset >= function.size) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " is behind the end of ", function.name,
                     ", which has ", function.size, " bytes"));
  }
  const bool marked =
      std::memcmp(reinterpret_cast<const void*>(function.address), kEndbr64,
                  sizeof(kEndbr64)) == 0;
  if (marked && offset == sizeof(kEndbr64)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      where, " is not where ", function.name, " is entered; a return probe ",
      "stands at ", function.name,
      marked ? absl::StrCat(" or ", function.name, "+0x4, behind its endbr64")
             : ""));
}

}  // namespace retprobe
