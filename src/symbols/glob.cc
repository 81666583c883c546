// SPDX-License-Identifier: Apache-2.0
#include "symbols/glob.h"

#include <cstdint>

namespace retprobe {
namespace {

constexpr size_t kNone = absl::string_view::npos;

// One character of a set, at `*at`; behind it afterwards.
uint8_t SetCharacter(absl::string_view glob, size_t* at) {
  if (glob[*at] == '\\') ++*at;
  return static_cast<uint8_t>(glob[(*at)++]);
}

// Whether `c` is in the set from the '[' at `open` to the ']' before `end`.
bool SetContains(absl::string_view glob, size_t open, size_t end, char c) {
  const uint8_t wanted = static_cast<uint8_t>(c);
  size_t at = open + 1;
  const bool negated = glob[at] == '!' || glob[at] == '^';
  if (negated) ++at;
  bool found = false;
  while (at < end - 1) {
    const uint8_t low = SetCharacter(glob, &at);
    uint8_t high = low;
    if (at + 1 < end - 1 && glob[at] == '-') {
      ++at;
      high = SetCharacter(glob, &at);
    }
    found = found || (wanted >= low && wanted <= high);
  }
  return found != negated;
}

// Matches one character; returns the offset of the rest of `glob`, or kNone.
size_t MatchOne(absl::string_view glob, size_t at, char c) {
  switch (glob[at]) {
    case '?':
      return at + 1;
    case '[': {
      const size_t end = BehindGlobSet(glob, at);
      if (end == kNone) return glob[at] == c ? at + 1 : kNone;
      return SetContains(glob, at, end, c) ? end : kNone;
    }
    case '\\':
      if (at + 1 < glob.size()) ++at;
      break;
    default:
      break;
  }
  return glob[at] == c ? at + 1 : kNone;
}

}  // namespace

size_t BehindGlobSet(absl::string_view glob, size_t open) {
  size_t at = open + 1;
  if (at < glob.size() && (glob[at] == '!' || glob[at] == '^')) ++at;
  const size_t first = at;
  for (; at < glob.size(); ++at) {
    if (glob[at] == '\\') {
      ++at;
    } else if (glob[at] == ']' && at > first) {
      return at + 1;
    }
  }
  return kNone;
}

bool GlobMatches(absl::string_view glob, absl::string_view text) {
  // Upon a mismatch only the last star needs to take one more character: what
  // an earlier star could give is found by the last one too.
  size_t at = 0;
  size_t star = kNone;   // behind the last star met
  size_t star_text = 0;  // where the text behind that star's share starts
  size_t i = 0;
  while (i < text.size()) {
    if (at < glob.size() && glob[at] == '*') {
      star = ++at;
      star_text = i;
      continue;
    }
    const size_t next = at < glob.size() ? MatchOne(glob, at, text[i]) : kNone;
    if (next != kNone) {
      at = next;
      ++i;
    } else if (star != kNone) {
      at = star;
      i = ++star_text;
    } else {
      return false;
    }
  }
  while (at < glob.size() && glob[at] == '*') ++at;
  return at == glob.size();
}

}  // namespace retprobe
