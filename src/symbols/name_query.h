// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_NAME_QUERY_H_
#define RETPROBE_SYMBOLS_NAME_QUERY_H_

#include <string>

#include "absl/strings/string_view.h"

namespace retprobe {

// Compares symbols with a name as a user writes it, demangling only where it
// could help.
class NameQuery {
 public:
  enum Kind {
    kNone,
    kSymbol,     // the symbol itself
    kDemangled,  // its demangled name, with or without parameters
  };

  explicit NameQuery(absl::string_view text);

  Kind Match(absl::string_view symbol) const;

 private:
  std::string text_;
  std::string compact_;  // without blanks
  // Part of the text that a mangled name of it must hold; empty: none is sure.
  std::string hint_;
};

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_NAME_QUERY_H_
