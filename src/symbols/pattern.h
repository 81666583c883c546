// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_PATTERN_H_
#define RETPROBE_SYMBOLS_PATTERN_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "symbols/function.h"
#include "symbols/module.h"

namespace retprobe {

// "module:function" or "function", each part a shell glob (* ? [a-z], \ before
// a character that stands for itself).
//
// The function part is tried on the names and aliases as in the symbol table,
// on the demangled names ("ns::f(int)") and on these without parameters
// ("ns::f"); the module part on the module's name and path, also without the
// version behind ".so". An offset may follow, "function+0x4".
class Pattern {
 public:
  // Errors: kInvalidArgument: empty, an empty part, an unclosed bracket or a
  //   backslash at the end, with its column (the first is 1).
  static absl::StatusOr<Pattern> Parse(absl::string_view text);

  bool MatchesModule(const Module& module) const;
  bool MatchesFunction(const Function& function) const;
  const std::string& text() const { return text_; }
  // Bytes into the function, from "+0x4" at the end: see CheckEntryOffset
  // (symbols/entry_offset.h).
  uint64_t offset() const { return offset_; }

 private:
  Pattern() = default;

  bool MatchesName(absl::string_view name) const;

  std::string text_;
  std::string module_;  // empty: any
  std::string function_;
  uint64_t offset_ = 0;
};

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_PATTERN_H_
