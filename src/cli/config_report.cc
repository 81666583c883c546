// SPDX-License-Identifier: Apache-2.0
#include "cli/config_report.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/columns.h"
#include "cli/json.h"

namespace retprobe::cli {
namespace {

constexpr size_t kWidth = 78;

std::string AtLeft(const std::vector<Cells>& lines) {
  return Columns(lines, [](size_t) { return true; });
}

std::string Wrapped(absl::string_view text) {
  std::string wrapped;
  size_t column = 0;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (column != 0 && column + 1 + word.size() > kWidth) {
      absl::StrAppend(&wrapped, "\n");
      column = 0;
    } else if (column != 0) {
      absl::StrAppend(&wrapped, " ");
      ++column;
    }
    absl::StrAppend(&wrapped, word);
    column += word.size();
  }
  return wrapped + "\n";
}

std::string JsonValue(const Option& option, const OptionValue& value) {
  const std::string text = ValueText(option, value);
  return option.kind == OptionKind::kChoice ||
                 option.kind == OptionKind::kPatterns || value.automatic
             ? JsonString(text)
             : text;
}

std::string JsonOrigin(const Origin& origin) {
  switch (origin.kind) {
    case Origin::Kind::kDefault:
      return R"("source": "default")";
    case Origin::Kind::kFile:
      return absl::StrCat(R"("source": "file", "file": )",
                          JsonString(origin.file), R"(, "line": )",
                          origin.line);
    default:
      return absl::StrCat(R"("source": )", JsonString(OriginText(origin)));
  }
}

std::string JsonKind(const Option& option) {
  std::string text;
  switch (option.kind) {
    case OptionKind::kBool:
      return R"("kind": "bool")";
    case OptionKind::kNumber:
      return absl::StrCat(R"("kind": "number", "unit": )",
                          JsonString(option.unit), R"(, "low": )", option.low,
                          R"(, "high": )", option.high, R"(, "auto": )",
                          option.automatic ? "true" : "false");
    case OptionKind::kPatterns:
      return R"("kind": "patterns")";
    case OptionKind::kChoice:
      break;
  }
  for (const absl::string_view choice : absl::StrSplit(option.choices, '|')) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", JsonString(choice));
  }
  return absl::StrCat(R"("kind": "choice", "choices": [)", text, "]");
}

// One object a line.
std::string JsonList(const std::vector<std::string>& objects) {
  std::string text = "{\"options\": [\n";
  for (size_t i = 0; i < objects.size(); ++i) {
    absl::StrAppend(&text, objects[i], i + 1 < objects.size() ? ",\n" : "\n");
  }
  return text + "]}\n";
}

}  // namespace

std::string RenderSettings(const Settings& settings) {
  std::vector<Cells> lines = {{"option", "value", "from"}};
  const absl::Span<const Option> options = AllOptions();
  for (size_t i = 0; i < options.size(); ++i) {
    lines.push_back({options[i].name, ValueText(options[i], settings[i].value),
                     OriginText(settings[i].origin)});
  }
  return AtLeft(lines);
}

std::string RenderSettingsJson(const Settings& settings) {
  std::vector<std::string> objects;
  const absl::Span<const Option> options = AllOptions();
  for (size_t i = 0; i < options.size(); ++i) {
    objects.push_back(absl::StrCat(R"({"name": )", JsonString(options[i].name),
                                   R"(, "value": )",
                                   JsonValue(options[i], settings[i].value),
                                   ", ", JsonOrigin(settings[i].origin), "}"));
  }
  return JsonList(objects);
}

std::string RenderCheckJson(absl::string_view file, const Settings& settings) {
  std::string errors;
  for (const std::string& error : settings.Errors()) {
    absl::StrAppend(&errors, errors.empty() ? "" : ", ", JsonString(error));
  }
  return absl::StrCat(R"({"file": )", JsonString(file), R"(, "errors": [)",
                      errors, "]}\n");
}

std::string RenderOptions() {
  std::vector<Cells> lines = {{"option", "default", "may be"}};
  for (const Option& option : AllOptions()) {
    lines.push_back({option.name, option.initial, RangeText(option)});
  }
  return AtLeft(lines);
}

std::string RenderOptionsJson(absl::Span<const Option> options) {
  std::vector<std::string> objects;
  for (const Option& option : options) {
    objects.push_back(absl::StrCat(
        R"({"name": )", JsonString(option.name), ", ", JsonKind(option),
        R"(, "may_be": )", JsonString(RangeText(option)), R"(, "default": )",
        JsonValue(option, InitialValue(option)), R"(, "help": )",
        JsonString(option.help), "}"));
  }
  return JsonList(objects);
}

std::string RenderOption(const Option& option) {
  return absl::StrCat(option.name, "\n\n", Wrapped(option.help), "\nmay be   ",
                      RangeText(option), "\ndefault  ", option.initial, "\n");
}

}  // namespace retprobe::cli
