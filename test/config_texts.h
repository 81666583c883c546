// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CONFIG_TEXTS_H_
#define RETPROBE_TEST_CONFIG_TEXTS_H_

#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "config/settings.h"
#include "retprobe/config.h"

// What the tests of the configuration write, and what comes of it.
namespace retprobe {

using Strings = std::vector<std::string>;

// A file of its own for each, gone at the end.
class File {
 public:
  explicit File(absl::string_view text) {
    const int file = mkstemp(path_);
    REQUIRE(file >= 0);
    close(file);
    Write(text);
  }
  ~File() { unlink(path_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  void Write(absl::string_view text) {
    std::ofstream(path_) << std::string(text);
  }
  const char* path() const { return path_; }

 private:
  char path_[32] = "/tmp/retprobe_config_XXXXXX";
};

// What a file's text is wrong in; the path is left out: "LINE:COLUMN: ...".
inline Strings ErrorsOf(absl::string_view text) {
  File file(text);
  Strings errors = Settings::Load({.file = file.path()}).Errors();
  const std::string prefix = absl::StrCat(file.path(), ":");
  for (std::string& error : errors) {
    CAPTURE(error);
    REQUIRE(absl::StartsWith(error, prefix));
    error.erase(0, prefix.size());
  }
  return errors;
}

// What a list of options is wrong in.
inline Strings OptionsErrors(absl::string_view text) {
  return Settings::Load({.environment = std::string(text)}).Errors();
}

// What a list of options without errors sets.
inline Config Fine(absl::string_view options) {
  const Settings settings =
      Settings::Load({.environment = std::string(options)});
  CHECK(settings.Errors() == Strings());
  return settings.config();
}

}  // namespace retprobe

#endif  // RETPROBE_TEST_CONFIG_TEXTS_H_
