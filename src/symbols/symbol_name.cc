// SPDX-License-Identifier: Apache-2.0
#include "symbols/symbol_name.h"

#include "symbols/glob.h"

namespace retprobe {

size_t ModuleSeparator(absl::string_view symbol) {
  size_t at = 0;
  while (at < symbol.size()) {
    if (symbol[at] == '[') {
      const size_t end = BehindGlobSet(symbol, at);
      at = end == absl::string_view::npos ? at + 1 : end;
    } else if (symbol[at] == '\\') {
      at += 2;
    } else if (symbol[at] == ':') {
      size_t end = at;
      while (end < symbol.size() && symbol[end] == ':') ++end;
      // Of ":::" the first one separates: "module:" and "::f".
      if ((end - at) % 2 == 1) return at;
      at = end;
    } else {
      ++at;
    }
  }
  return absl::string_view::npos;
}

absl::string_view WithoutSoVersion(absl::string_view name) {
  const size_t at = name.rfind(".so.");
  return at == absl::string_view::npos ? name : name.substr(0, at + 3);
}

}  // namespace retprobe
