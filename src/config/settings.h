// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CONFIG_SETTINGS_H_
#define RETPROBE_CONFIG_SETTINGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "config/option.h"
#include "retprobe/config.h"

namespace retprobe {

// Where a value was written. A later kind overrules an earlier one.
struct Origin {
  enum class Kind : uint8_t { kDefault, kFile, kEnvironment, kProgram };
  Kind kind = Kind::kDefault;
  std::string file = {};  // of kFile: the path
  // From 1. 0: the file as a whole.
  uint32_t line = 0;
  uint32_t column = 0;
};

// "default", "pools.toml:3", "RETPROBE_OPTIONS" or "SetConfigOptions".
std::string OriginText(const Origin& origin);

struct Setting {
  OptionValue value;
  Origin origin;
};

// What there is to read, from the weakest to the strongest.
struct ConfigSources {
  std::string file = {};                  // path; empty: none
  std::string environment = {};           // what RETPROBE_OPTIONS holds
  std::vector<std::string> program = {};  // given to SetConfigOptions

  // RETPROBE_CONFIG and RETPROBE_OPTIONS, unless the program has gained
  // privileges.
  static ConfigSources FromEnvironment();
};

// A value for each option, as they are put together.
class Settings {
 public:
  Settings();  // defaults

  // Reads everything there is. What is wrong becomes an error; go on anyway.
  static Settings Load(const ConfigSources& sources);

  // Reads one more list for SetConfigOptions.
  void Add(absl::string_view options);

  // Takes a value for the option `name`, which is at `key` and `value`.
  void Set(absl::string_view name, const Origin& key, Written written,
           absl::string_view text, const Origin& value);
  // The same for a value that stands at `value` and is none of Written.
  void SetStrange(absl::string_view name, const Origin& key,
                  absl::string_view type, const Origin& value);
  void AddUnknown(absl::string_view name, const Origin& key);
  // `key` may be empty.
  void AddError(const Origin& at, absl::string_view key,
                absl::string_view what);

  const Setting& operator[](size_t option) const { return settings_[option]; }

  // One line each, in the order of the sources.
  std::vector<std::string> Errors() const;
  // The first of them, and how many more.
  absl::Status status() const;

  // Requires: status().ok().
  Config config() const;

  // What is not default, as one writes it in RETPROBE_OPTIONS.
  std::string OptionsText() const;

 private:
  struct Error {
    Origin at;
    std::string text;
  };
  void ReadOptions(absl::string_view text, Origin::Kind kind);
  void CheckTogether();

  std::vector<Setting> settings_;  // in the order of AllOptions()
  std::vector<Error> errors_;
};

// Reads the TOML file `path` into `settings`.
void ReadConfigFile(const std::string& path, Settings& settings);

}  // namespace retprobe

#endif  // RETPROBE_CONFIG_SETTINGS_H_
