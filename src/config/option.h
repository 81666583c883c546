// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CONFIG_OPTION_H_
#define RETPROBE_CONFIG_OPTION_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "retprobe/config.h"

namespace retprobe {

// A value that an option can have.
struct OptionValue {
  bool automatic = false;  // "auto", of numbers; the rest is then 0
  uint64_t number = 0;     // a number; a bool; a choice's index
  uint64_t argument = 0;   // of a choice "word=N": the N
  std::string text = {};   // patterns, separated by semicolons

  friend bool operator==(const OptionValue&, const OptionValue&) = default;
};

enum class OptionKind : uint8_t { kNumber, kBool, kChoice, kPatterns };

// One key of the configuration: all that reading, checking, showing and
// documenting it takes. There is one table of them, in option_table.cc.
struct Option {
  const char* name;  // "section.key"
  OptionKind kind;
  const char* unit;  // of a number; else empty
  // What a number may be. Of a choice: what N may be.
  uint64_t low;
  uint64_t high;
  bool automatic;       // a number may be "auto"
  const char* choices;  // "a|b|word=N"; of patterns: what one is
  const char* initial;  // as it would be written
  const char* help;     // sentences, without line breaks
  void (*apply)(const OptionValue& value, Config& config);  // not of "auto"
};

absl::Span<const Option> AllOptions();

// Null when there is none of that name.
const Option* FindOption(absl::string_view name);

// The name of the option most like `name`, which may lack the section; empty
// when none is near.
std::string NearestOption(absl::string_view name);

// What a value was written as.
enum class Written : uint8_t {
  kBare,    // in a list of options: may mean anything
  kString,  // the rest is TOML's
  kInteger,
  kBoolean,
};

// Understands `text`.
// Errors: kInvalidArgument, what is wrong and what was expected.
absl::StatusOr<OptionValue> ParseValue(const Option& option, Written written,
                                       absl::string_view text);

// What a message says of a value that cannot be: `what` and what was expected.
absl::Status WrongValue(const Option& option, absl::string_view what);

// As it would be written: "4096", "auto", "true", "node=1".
std::string ValueText(const Option& option, const OptionValue& value);

// What may be written: "0 .. 62 objects or auto", "true or false".
std::string RangeText(const Option& option);

// The value of `initial`.
OptionValue InitialValue(const Option& option);

}  // namespace retprobe

#endif  // RETPROBE_CONFIG_OPTION_H_
