// SPDX-License-Identifier: Apache-2.0
#include "config/settings.h"

#include <algorithm>
#include <cstdlib>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace retprobe {
namespace {

constexpr char kFileVariable[] = "RETPROBE_CONFIG";
constexpr char kOptionsVariable[] = "RETPROBE_OPTIONS";

// Of Origin, without the line.
absl::string_view SourceName(const Origin& origin) {
  switch (origin.kind) {
    case Origin::Kind::kDefault:
      return "default";
    case Origin::Kind::kFile:
      return origin.file;
    case Origin::Kind::kEnvironment:
      return kOptionsVariable;
    case Origin::Kind::kProgram:
      break;
  }
  return "SetConfigOptions";
}

std::string Variable(const char* name) {
  const char* value = secure_getenv(name);
  return value == nullptr ? "" : value;
}

// Whatever a file or its name holds: a message is one line.
std::string OneLine(absl::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool control = absl::ascii_iscntrl(static_cast<unsigned char>(c));
    absl::StrAppend(&line,
                    control ? absl::CEscape({&c, 1}) : std::string(1, c));
  }
  return line;
}

size_t IndexOf(const Option& option) {
  return static_cast<size_t>(&option - AllOptions().data());
}

}  // namespace

std::string OriginText(const Origin& origin) {
  const absl::string_view name = SourceName(origin);
  return origin.kind == Origin::Kind::kFile && origin.line != 0
             ? absl::StrCat(name, ":", origin.line)
             : std::string(name);
}

ConfigSources ConfigSources::FromEnvironment() {
  return {.file = Variable(kFileVariable),
          .environment = Variable(kOptionsVariable)};
}

Settings::Settings() {
  for (const Option& option : AllOptions()) {
    settings_.push_back({InitialValue(option), {}});
  }
}

Settings Settings::Load(const ConfigSources& sources) {
  Settings settings;
  if (!sources.file.empty()) ReadConfigFile(sources.file, settings);
  settings.ReadOptions(sources.environment, Origin::Kind::kEnvironment);
  for (const std::string& text : sources.program) {
    settings.ReadOptions(text, Origin::Kind::kProgram);
  }
  settings.CheckTogether();
  return settings;
}

void Settings::Add(absl::string_view options) {
  ReadOptions(options, Origin::Kind::kProgram);
  CheckTogether();
}

void Settings::Set(absl::string_view name, const Origin& key, Written written,
                   absl::string_view text, const Origin& value) {
  const Option* option = FindOption(name);
  if (option == nullptr) return AddUnknown(name, key);
  const auto parsed = ParseValue(*option, written, text);
  if (!parsed.ok()) return AddError(value, name, parsed.status().message());
  settings_[IndexOf(*option)] = {*parsed, value};
}

void Settings::SetStrange(absl::string_view name, const Origin& key,
                          absl::string_view type, const Origin& value) {
  const Option* option = FindOption(name);
  if (option == nullptr) return AddUnknown(name, key);
  AddError(value, name,
           WrongValue(*option, absl::StrCat("is ", type)).message());
}

void Settings::AddUnknown(absl::string_view name, const Origin& key) {
  const std::string nearest = NearestOption(name);
  AddError(key, name,
           nearest.empty()
               ? "unknown key; retprobe config --list shows all"
               : absl::StrCat("unknown key; the nearest is ", nearest));
}

void Settings::AddError(const Origin& at, absl::string_view key,
                        absl::string_view what) {
  std::string text(SourceName(at));
  if (at.line != 0) absl::StrAppend(&text, ":", at.line, ":", at.column);
  if (!key.empty()) absl::StrAppend(&text, ": ", key);
  absl::StrAppend(&text, ": ", what);
  errors_.push_back({at, OneLine(text)});
}

void Settings::ReadOptions(absl::string_view text, Origin::Kind kind) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    absl::string_view entry = text.substr(begin, end - begin);
    entry = absl::StripLeadingAsciiWhitespace(entry);
    const auto column = [&text](absl::string_view part) {
      return static_cast<uint32_t>(part.data() - text.data()) + 1;
    };
    const Origin key = {.kind = kind, .line = 1, .column = column(entry)};
    entry = absl::StripTrailingAsciiWhitespace(entry);
    const size_t equals = entry.find('=');
    begin = end + 1;
    if (entry.empty()) continue;
    const absl::string_view name =
        absl::StripTrailingAsciiWhitespace(entry.substr(0, equals));
    if (FindOption(name) == nullptr) {
      AddUnknown(absl::Utf8SafeCEscape(name), key);
    } else if (equals == absl::string_view::npos) {
      AddError(key, name, "has no value; expected KEY=VALUE");
    } else {
      const absl::string_view value =
          absl::StripLeadingAsciiWhitespace(entry.substr(equals + 1));
      Origin at = key;
      at.column = column(value);
      Set(name, key, Written::kBare, value, at);
    }
  }
}

// What no option can know by itself.
void Settings::CheckTogether() {
  if (!errors_.empty()) return;
  const size_t objects = IndexOf(*FindOption("pool.objects"));
  const size_t most = IndexOf(*FindOption("pool.max_objects"));
  const Setting& first = settings_[objects];
  const Setting& last = settings_[most];
  if (first.value.automatic || last.value.automatic ||
      last.value.number >= first.value.number) {
    return;
  }
  AddError(last.origin, "pool.max_objects",
           absl::StrCat(last.value.number, " is below pool.objects, which is ",
                        first.value.number, " (", OriginText(first.origin),
                        "); expected at least as many"));
}

std::vector<std::string> Settings::Errors() const {
  std::vector<const Error*> sorted;
  for (const Error& error : errors_) sorted.push_back(&error);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Error* a, const Error* b) {
                     return std::tie(a->at.kind, a->at.line, a->at.column) <
                            std::tie(b->at.kind, b->at.line, b->at.column);
                   });
  std::vector<std::string> texts;
  for (const Error* error : sorted) texts.push_back(error->text);
  return texts;
}

absl::Status Settings::status() const {
  const std::vector<std::string> errors = Errors();
  if (errors.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      errors.size() == 1
          ? errors[0]
          : absl::StrCat(errors[0], " (and ", errors.size() - 1, " more)"));
}

Config Settings::config() const {
  Config config;
  for (const Option& option : AllOptions()) {
    const OptionValue& value = settings_[IndexOf(option)].value;
    if (!value.automatic) option.apply(value, config);
  }
  return config;
}

std::string Settings::OptionsText() const {
  std::string text;
  for (const Option& option : AllOptions()) {
    const Setting& setting = settings_[IndexOf(option)];
    if (setting.origin.kind == Origin::Kind::kDefault) continue;
    absl::StrAppend(&text, text.empty() ? "" : ",", option.name, "=",
                    ValueText(option, setting.value));
  }
  return text;
}

}  // namespace retprobe
