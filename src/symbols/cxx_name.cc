// SPDX-License-Identifier: Apache-2.0
#include "symbols/cxx_name.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace retprobe {
namespace {

constexpr absl::string_view kAnonymous = "(anonymous namespace)";
constexpr absl::string_view kOperator = "operator";

bool InIdentifier(char c) { return absl::ascii_isalnum(c) || c == '_'; }

// The position behind the bracket that closes the one at `open`.
size_t BehindClosing(absl::string_view name, size_t open) {
  int depth = 0;
  for (size_t i = open; i < name.size(); ++i) {
    const char c = name[i];
    if (c == '(' || c == '<' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == '>' || c == ']' || c == '}') --depth;
    if (c == '>' && i > 0 && name[i - 1] == '-') ++depth;  // "->"
    if (depth == 0) return i + 1;
  }
  return name.size();
}

bool IsOperator(absl::string_view name, size_t at) {
  if (!absl::StartsWith(name.substr(at), kOperator)) return false;
  const size_t end = at + kOperator.size();
  return (at == 0 || !InIdentifier(name[at - 1])) &&
         (end == name.size() || !InIdentifier(name[end]));
}

// The position behind the symbol of the operator whose name starts at `at`:
// "operator<<", "operator()", "operator bool", "operator new[]".
size_t BehindOperator(absl::string_view name, size_t at) {
  at += kOperator.size();
  if (absl::StartsWith(name.substr(at), "()")) return at + 2;
  if (at < name.size() && name[at] == ' ') return at + 1;
  const size_t end = name.find_first_not_of("<>=!+-*/%^&|~,[]", at);
  return end == absl::string_view::npos ? name.size() : end;
}

}  // namespace

std::string Demangle(absl::string_view mangled) {
  std::string name(mangled);
  // Without the check "f" would come out as "float".
  if (!absl::StartsWith(name, "_Z")) return name;
  int status;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
  return demangled == nullptr ? name : std::string(demangled.get());
}

absl::string_view QualifiedName(absl::string_view demangled) {
  if (absl::StrContains(demangled, " thunk to ") ||
      absl::StrContains(demangled, " for ") ||
      absl::StrContains(demangled, "[clone ")) {
    return demangled;
  }
  size_t start = 0;
  bool in_operator = false;  // its name may hold spaces
  size_t i = 0;
  while (i < demangled.size()) {
    const absl::string_view rest = demangled.substr(i);
    if (absl::StartsWith(rest, kAnonymous)) {
      i += kAnonymous.size();
    } else if (IsOperator(demangled, i)) {
      in_operator = true;
      i = BehindOperator(demangled, i);
    } else if (rest[0] == '(') {
      // Of the function itself, or of one it is local to: "f(int)::local()".
      const size_t end = BehindClosing(demangled, i);
      size_t next = end;
      if (absl::StartsWith(demangled.substr(next), " const")) next += 6;
      if (!absl::StartsWith(demangled.substr(next), "::")) {
        return demangled.substr(start, i - start);
      }
      i = next;
    } else if (rest[0] == '<' || rest[0] == '[' || rest[0] == '{') {
      i = BehindClosing(demangled, i);
    } else {
      ++i;
      if (rest[0] == ' ' && !in_operator) start = i;
    }
  }
  return demangled;
}

}  // namespace retprobe
