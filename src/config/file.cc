// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "config/settings.h"

// In this file only: headers alone, whatever pkg-config says, and errors that
// are returned.
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
// toml++ 3.3 asserts, or with NDEBUG assumes, that a key begins as keys do, and
// then looks whether it does: "[,pool]" would abort, or worse.
#undef NDEBUG
#define TOML_ASSERT(expr) static_assert(true)
#include <toml++/toml.h>

namespace retprobe {
namespace {

constexpr size_t kMaxSize = size_t{1} << 20;  // bytes; it is not a data base

// Errors: any, with what to say.
absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return absl::NotFoundError(strerror(errno));
  std::string text(kMaxSize + 1, '\0');
  size_t size = 0;
  int error = 0;
  while (size < text.size()) {
    const ssize_t got = read(file, text.data() + size, text.size() - size);
    if (got > 0) size += static_cast<size_t>(got);
    if (got == 0) break;
    if (got < 0 && errno != EINTR) {
      error = errno;
      break;
    }
  }
  close(file);
  if (error != 0) return absl::NotFoundError(strerror(error));
  if (size > kMaxSize) return absl::OutOfRangeError("it is larger than 1 MiB");
  text.resize(size);
  return text;
}

const char* TypeName(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "a boolean";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::string:
      return "a string";
    default:
      return "a date or time";
  }
}

// As it would be written in a dotted name: a key that needs quotes can be none
// of ours.
std::string KeyText(std::string_view key) {
  for (const char c : key) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' &&
        c != '-') {
      return absl::StrCat("\"", absl::Utf8SafeCEscape({key.data(), key.size()}),
                          "\"");
    }
  }
  return key.empty() ? "\"\"" : std::string(key);
}

// Each once, in the order of the table.
std::vector<absl::string_view> Sections() {
  std::vector<absl::string_view> sections;
  for (const Option& option : AllOptions()) {
    absl::string_view section = option.name;
    section = section.substr(0, section.find('.'));
    // The options of a section stand together.
    if (sections.empty() || sections.back() != section) {
      sections.push_back(section);
    }
  }
  return sections;
}

bool IsSection(absl::string_view name) {
  const std::vector<absl::string_view> all = Sections();
  return std::find(all.begin(), all.end(), name) != all.end();
}

// One file on its way into settings.
class Reader {
 public:
  Reader(const std::string& path, Settings& settings)
      : path_(path), settings_(settings) {}

  void Read(const toml::table& table) {
    for (const auto& [key, node] : table) {
      const std::string name = KeyText(key.str());
      const Origin at = At(key.source());
      if (!IsSection(name)) {
        AddUnknown(name, at, node);
      } else if (const toml::table* section = node.as_table()) {
        ReadSection(*section, name);
      } else {
        settings_.AddError(At(node.source()), name,
                           absl::StrCat("is ", TypeName(node),
                                        "; expected the section [", name, "]"));
      }
    }
  }

  void AddSyntaxError(const toml::parse_error& error) {
    const std::string_view description = error.description();
    absl::string_view what(description.data(), description.size());
    const bool known = absl::ConsumePrefix(&what, "Error while parsing ");
    settings_.AddError(
        At(error.source()), "",
        absl::StrCat("syntax error", known ? " in " : ": ", what));
  }

 private:
  void AddUnknown(absl::string_view name, const Origin& at,
                  const toml::node& node) {
    if (!node.is_table()) return settings_.AddUnknown(name, at);
    settings_.AddError(at, name,
                       absl::StrCat("unknown section; expected [",
                                    absl::StrJoin(Sections(), "] or ["), "]"));
  }

  Origin At(const toml::source_region& region) const {
    return {.kind = Origin::Kind::kFile,
            .file = path_,
            .line = region.begin.line,
            .column = region.begin.column};
  }

  void ReadSection(const toml::table& section, absl::string_view name) {
    for (const auto& [key, node] : section) {
      ReadValue(absl::StrCat(name, ".", KeyText(key.str())), At(key.source()),
                node);
    }
  }

  void ReadValue(const std::string& name, const Origin& key,
                 const toml::node& node) {
    const Origin at = At(node.source());
    if (const auto* text = node.as_string()) {
      settings_.Set(name, key, Written::kString, text->get(), at);
    } else if (const auto* integer = node.as_integer()) {
      settings_.Set(name, key, Written::kInteger, absl::StrCat(integer->get()),
                    at);
    } else if (const auto* boolean = node.as_boolean()) {
      settings_.Set(name, key, Written::kBoolean,
                    boolean->get() ? "true" : "false", at);
    } else if (!ReadPatterns(name, key, node)) {
      settings_.SetStrange(name, key, TypeName(node), at);
    }
  }

  // An array of strings, where patterns are wanted. False if it is not that.
  bool ReadPatterns(const std::string& name, const Origin& key,
                    const toml::node& node) {
    const Option* option = FindOption(name);
    const toml::array* array = node.as_array();
    if (option == nullptr || option->kind != OptionKind::kPatterns ||
        array == nullptr) {
      return false;
    }
    std::vector<std::string> patterns;
    for (const toml::node& element : *array) {
      const auto* text = element.as_string();
      if (text == nullptr) return false;
      patterns.push_back(text->get());
    }
    settings_.Set(name, key, Written::kString, absl::StrJoin(patterns, ";"),
                  At(node.source()));
    return true;
  }

  const std::string& path_;
  Settings& settings_;
};

}  // namespace

void ReadConfigFile(const std::string& path, Settings& settings) {
  const Origin whole = {.kind = Origin::Kind::kFile, .file = path};
  const absl::StatusOr<std::string> text = ReadWhole(path);
  if (!text.ok()) {
    settings.AddError(whole, "",
                      absl::StrCat("cannot be read (", text.status().message(),
                                   "); expected a TOML file"));
    return;
  }
  Reader reader(path, settings);
  const toml::parse_result result = toml::parse(*text);
  if (result) {
    reader.Read(result.table());
  } else {
    reader.AddSyntaxError(result.error());
  }
}

}  // namespace retprobe
