// SPDX-License-Identifier: Apache-2.0
#include "symbols/name_query.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "symbols/cxx_name.h"

namespace retprobe {
namespace {

// Identifiers that the C++ ABI abbreviates (Sa, Ss, Si, So, Sd) or that stand
// for a mangled operator.
constexpr absl::string_view kNotInMangledNames[] = {
    "allocator",     "basic_string", "string",  "basic_istream",
    "basic_ostream", "istream",      "ostream", "basic_iostream",
    "iostream",      "operator"};

std::string WithoutBlanks(absl::string_view text) {
  std::string result;
  std::copy_if(text.begin(), text.end(), std::back_inserter(result),
               [](char c) { return c != ' '; });
  return result;
}

// The last identifier of a qualified name: mangled names hold it as it is.
std::string Hint(absl::string_view text) {
  if (absl::StrContains(text, "operator")) return {};
  const absl::string_view name = QualifiedName(text);
  size_t begin = name.size();
  while (begin > 0 &&
         (absl::ascii_isalnum(name[begin - 1]) || name[begin - 1] == '_')) {
    --begin;
  }
  const absl::string_view hint = name.substr(begin);
  const bool sure =
      std::find(std::begin(kNotInMangledNames), std::end(kNotInMangledNames),
                hint) == std::end(kNotInMangledNames);
  return sure ? std::string(hint) : std::string();
}

}  // namespace

NameQuery::NameQuery(absl::string_view text)
    : text_(text), compact_(WithoutBlanks(text)), hint_(Hint(text)) {}

NameQuery::Kind NameQuery::Match(absl::string_view symbol) const {
  if (symbol == text_) return kSymbol;
  if (!absl::StartsWith(symbol, "_Z") || !absl::StrContains(symbol, hint_)) {
    return kNone;
  }
  const std::string demangled = Demangle(symbol);
  return WithoutBlanks(demangled) == compact_ ||
                 WithoutBlanks(QualifiedName(demangled)) == compact_
             ? kDemangled
             : kNone;
}

}  // namespace retprobe
