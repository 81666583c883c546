// SPDX-License-Identifier: Apache-2.0
#include "symbols/pattern.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "symbols/cxx_name.h"
#include "symbols/entry_offset.h"
#include "symbols/glob.h"
#include "symbols/symbol_name.h"

namespace retprobe {
namespace {

absl::Status ErrorAt(absl::string_view text, size_t offset,
                     absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("pattern '", text, "', column ", offset + 1, ": ", what));
}

absl::Status CheckGlob(absl::string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '[') {
      const size_t end = BehindGlobSet(text, at);
      if (end == absl::string_view::npos) {
        return ErrorAt(text, at,
                       "nothing closes this bracket (write \\[ for the "
                       "character itself)");
      }
      at = end - 1;
    } else if (text[at] == '\\' && ++at == text.size()) {
      return ErrorAt(text, at - 1, "nothing follows this backslash");
    }
  }
  return absl::OkStatus();
}

bool MatchesPathOrName(absl::string_view glob, const Module& module) {
  return GlobMatches(glob, module.name) || GlobMatches(glob, module.path) ||
         GlobMatches(glob, WithoutSoVersion(module.name)) ||
         GlobMatches(glob, WithoutSoVersion(module.path));
}

}  // namespace

absl::StatusOr<Pattern> Pattern::Parse(absl::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("empty pattern");
  if (absl::Status status = CheckGlob(text); !status.ok()) return status;
  Pattern pattern;
  pattern.text_ = std::string(text);
  pattern.offset_ = TakeOffset(&text);
  const size_t separator = ModuleSeparator(text);
  if (separator == absl::string_view::npos) {
    pattern.function_ = std::string(text);
    return pattern;
  }
  pattern.module_ = std::string(text.substr(0, separator));
  pattern.function_ = std::string(text.substr(separator + 1));
  if (pattern.module_.empty()) {
    return ErrorAt(text, 0, "no module before the colon");
  }
  if (pattern.function_.empty()) {
    return ErrorAt(text, separator + 1, "no function behind the colon");
  }
  return pattern;
}

bool Pattern::MatchesModule(const Module& module) const {
  return module_.empty() || MatchesPathOrName(module_, module);
}

bool Pattern::MatchesFunction(const Function& function) const {
  return MatchesName(function.name) ||
         std::any_of(function.aliases.begin(), function.aliases.end(),
                     [this](const auto& name) { return MatchesName(name); });
}

bool Pattern::MatchesName(absl::string_view name) const {
  if (GlobMatches(function_, name)) return true;
  if (!absl::StartsWith(name, "_Z")) return false;
  const std::string demangled = Demangle(name);
  return GlobMatches(function_, demangled) ||
         GlobMatches(function_, QualifiedName(demangled));
}

}  // namespace retprobe
