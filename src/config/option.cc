// SPDX-License-Identifier: Apache-2.0
#include "config/option.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/nearest_name.h"

namespace retprobe {
namespace {

constexpr absl::string_view kAuto = "auto";
constexpr absl::string_view kArgument = "=N";
constexpr absl::string_view kNoPatterns = "none";

// Powers of 1024 by their letter; 0 is a plain number.
int SuffixPower(char letter) {
  switch (absl::ascii_tolower(static_cast<unsigned char>(letter))) {
    case 'k':
      return 1;
    case 'm':
      return 2;
    case 'g':
      return 3;
    default:
      return 0;
  }
}

enum class Number : uint8_t { kFine, kNone, kOutOfRange };

// Digits, and a suffix that multiplies.
Number ParseNumber(absl::string_view text, uint64_t low, uint64_t high,
                   uint64_t* number) {
  const bool negative = absl::ConsumePrefix(&text, "-");
  int power = text.empty() ? 0 : SuffixPower(text.back());
  if (power != 0) text.remove_suffix(1);
  if (text.empty()) return Number::kNone;
  for (const char digit : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(digit))) {
      return Number::kNone;
    }
  }
  if (negative || !absl::SimpleAtoi(text, number)) return Number::kOutOfRange;
  for (; power > 0; --power) {
    if (*number > high) return Number::kOutOfRange;  // `high` is below 2^32
    *number *= 1024;
  }
  return *number < low || *number > high ? Number::kOutOfRange : Number::kFine;
}

absl::StatusOr<OptionValue> ParseWithin(const Option& option,
                                        absl::string_view text,
                                        absl::string_view shown) {
  OptionValue value;
  switch (ParseNumber(text, option.low, option.high, &value.number)) {
    case Number::kFine:
      return value;
    case Number::kNone:
      return WrongValue(option, absl::StrCat(shown, " is not a number"));
    case Number::kOutOfRange:
      break;
  }
  return WrongValue(option, absl::StrCat(shown, " is out of range"));
}

std::vector<absl::string_view> ChoicesOf(const Option& option) {
  return absl::StrSplit(option.choices, '|');
}

absl::StatusOr<OptionValue> ParseChoice(const Option& option,
                                        absl::string_view text,
                                        absl::string_view shown) {
  OptionValue value;
  for (absl::string_view choice : ChoicesOf(option)) {
    if (text == choice && !absl::EndsWith(choice, kArgument)) return value;
    if (absl::ConsumeSuffix(&choice, "N") && absl::StartsWith(text, choice)) {
      auto argument = ParseWithin(option, text.substr(choice.size()), shown);
      if (!argument.ok()) return argument;
      value.argument = argument->number;
      return value;
    }
    ++value.number;
  }
  return WrongValue(option, absl::StrCat(shown, " is not possible"));
}

// A list of options has commas between them. What a pattern may be is known to
// who uses it.
absl::StatusOr<OptionValue> ParsePatterns(const Option& option,
                                          absl::string_view text,
                                          absl::string_view shown) {
  if (absl::StrContains(text, ',')) {
    return WrongValue(option, absl::StrCat(shown,
                                           " has a comma (a ? matches "
                                           "one)"));
  }
  if (text.empty()) return WrongValue(option, "is empty");
  if (text == kNoPatterns) text = "";
  return OptionValue{.text = std::string(text)};
}

const char* NameOf(Written written) {
  switch (written) {
    case Written::kString:
      return "a string";
    case Written::kInteger:
      return "an integer";
    case Written::kBoolean:
      return "a boolean";
    case Written::kBare:
      break;
  }
  return "a word";
}

bool MayBe(OptionKind kind, Written written) {
  if (written == Written::kBare) return true;
  switch (kind) {
    case OptionKind::kNumber:
      return written != Written::kBoolean;
    case OptionKind::kBool:
      return written == Written::kBoolean;
    case OptionKind::kChoice:
    case OptionKind::kPatterns:
      return written == Written::kString;
  }
  return false;
}

}  // namespace

const Option* FindOption(absl::string_view name) {
  for (const Option& option : AllOptions()) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

std::string NearestOption(absl::string_view name) {
  NearestName nearest(name);
  for (const Option& option : AllOptions()) {
    nearest.Offer(option.name);
    const absl::string_view whole = option.name;
    nearest.Offer(whole.substr(whole.find('.') + 1), whole);
  }
  return nearest.best();
}

absl::Status WrongValue(const Option& option, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, "; expected ", RangeText(option)));
}

absl::StatusOr<OptionValue> ParseValue(const Option& option, Written written,
                                       absl::string_view text) {
  if (!MayBe(option.kind, written)) {
    return WrongValue(option, absl::StrCat("is ", NameOf(written)));
  }
  const std::string shown =
      written == Written::kInteger
          ? std::string(text)
          : absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
  switch (option.kind) {
    case OptionKind::kNumber:
      if (option.automatic && text == kAuto && written != Written::kInteger) {
        return OptionValue{.automatic = true};
      }
      return ParseWithin(option, text, shown);
    case OptionKind::kBool:
      if (text != "true" && text != "false") {
        return WrongValue(option, absl::StrCat(shown, " is neither"));
      }
      return OptionValue{.number = text == "true"};
    case OptionKind::kPatterns:
      return ParsePatterns(option, text, shown);
    case OptionKind::kChoice:
      break;
  }
  return ParseChoice(option, text, shown);
}

std::string ValueText(const Option& option, const OptionValue& value) {
  if (value.automatic) return std::string(kAuto);
  switch (option.kind) {
    case OptionKind::kNumber:
      return absl::StrCat(value.number);
    case OptionKind::kBool:
      return value.number != 0 ? "true" : "false";
    case OptionKind::kPatterns:
      return value.text.empty() ? std::string(kNoPatterns) : value.text;
    case OptionKind::kChoice:
      break;
  }
  absl::string_view choice = ChoicesOf(option)[value.number];
  if (!absl::EndsWith(choice, kArgument)) return std::string(choice);
  choice.remove_suffix(1);
  return absl::StrCat(choice, value.argument);
}

std::string RangeText(const Option& option) {
  switch (option.kind) {
    case OptionKind::kNumber:
      return absl::StrCat(option.low, " .. ", option.high, " ", option.unit,
                          option.automatic ? " or auto" : "");
    case OptionKind::kBool:
      return "true or false";
    case OptionKind::kPatterns:
      return absl::StrCat(option.choices, ", separated by semicolons, or ",
                          kNoPatterns);
    case OptionKind::kChoice:
      break;
  }
  const std::vector<absl::string_view> choices = ChoicesOf(option);
  std::string text;
  for (size_t i = 0; i < choices.size(); ++i) {
    const bool last = i + 1 == choices.size();
    absl::StrAppend(&text, i == 0 ? "" : last ? " or " : ", ", choices[i]);
    if (absl::EndsWith(choices[i], kArgument)) {
      absl::StrAppend(&text, ", N in ", option.low, " .. ", option.high);
    }
  }
  return text;
}

OptionValue InitialValue(const Option& option) {
  return ParseValue(option, Written::kBare, option.initial)
      .value_or(OptionValue());
}

}  // namespace retprobe
