// SPDX-License-Identifier: Apache-2.0
#include "cli/config_command.h"

#include <unistd.h>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/config_report.h"
#include "cli/output.h"
#include "config/settings.h"

namespace retprobe::cli {
namespace {

constexpr int kWrong = 2;
constexpr int kFailed = 125;

constexpr char kHelp[] =
    R"(Usage: retprobe config [--show] [--json]
       retprobe config --list [--json]
       retprobe config --explain KEY [--json]
       retprobe config --check FILE [--json]

Shows, explains and checks the options of pools and probes.

      --show         the value of each option that would be in force now, and
                     where it comes from: a file with its line, RETPROBE_OPTIONS
                     or default. What it does without any option
      --list         all options, their defaults and what they may be
      --explain KEY  one option
      --check FILE   whether FILE could be read, and all that is wrong with it
      --json         in JSON

Options come from, the later one overruling the earlier:
  1. the TOML file that RETPROBE_CONFIG names:
       [pool]
       objects = "64k"
       backend = "cas"
  2. RETPROBE_OPTIONS="pool.objects=64k,pool.backend=cas"
A number may have a suffix, k, M or G, for a power of 1024; in TOML it is then a
string.

Exit status:
  0    done, and nothing is wrong with the configuration
  2    the command line, or the configuration, is wrong
  125  the output could not be written
)";

struct Request {
  enum class Kind { kShow, kList, kExplain, kCheck, kHelp };
  Kind kind = Kind::kShow;
  std::string value;  // KEY or FILE
  bool json = false;
};

absl::Status Wrong(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, "; see retprobe config --help"));
}

// The word that asks for `kind`, and whether a value follows it.
struct Word {
  absl::string_view word;
  Request::Kind kind;
  bool has_value;
};
constexpr Word kWords[] = {{"--show", Request::Kind::kShow, false},
                           {"--list", Request::Kind::kList, false},
                           {"--explain", Request::Kind::kExplain, true},
                           {"--check", Request::Kind::kCheck, true}};

// What `argument` asks for, "--word" or "--word=VALUE"; null: nothing.
const Word* FindWord(absl::string_view argument) {
  const size_t equals = argument.find('=');
  for (const Word& known : kWords) {
    if (argument.substr(0, equals) == known.word &&
        (known.has_value || equals == absl::string_view::npos)) {
      return &known;
    }
  }
  return nullptr;
}

absl::StatusOr<Request> Parse(absl::Span<const std::string> arguments) {
  Request request;
  const Word* asked = nullptr;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--help" || argument == "-h") {
      return Request{.kind = Request::Kind::kHelp};
    }
    if (argument == "--json") {
      request.json = true;
      continue;
    }
    const Word* word = FindWord(argument);
    if (word == nullptr) {
      return Wrong(absl::StrCat(
          absl::StartsWith(argument, "-") ? "unknown option " : "unexpected ",
          argument));
    }
    if (asked != nullptr) {
      return Wrong(
          absl::StrCat(asked->word, " and ", word->word, " are two wishes"));
    }
    asked = word;
    request.kind = word->kind;
    if (!word->has_value) continue;
    const size_t equals = argument.find('=');
    if (equals != std::string::npos) {
      request.value = argument.substr(equals + 1);
    } else if (++i < arguments.size()) {
      request.value = arguments[i];
    }
    if (request.value.empty()) {
      return Wrong(absl::StrCat(word->word, " wants a value"));
    }
  }
  return request;
}

int Write(absl::string_view text) {
  return WriteAll(STDOUT_FILENO, text) ? 0 : kFailed;
}

// False when something is wrong, all of which it tells.
bool ComplainAbout(const Settings& settings) {
  const std::vector<std::string> errors = settings.Errors();
  for (const std::string& error : errors) Complain(error);
  return errors.empty();
}

int Show(const Request& request) {
  const Settings settings = Settings::Load(ConfigSources::FromEnvironment());
  if (!ComplainAbout(settings)) return kWrong;
  return Write(request.json ? RenderSettingsJson(settings)
                            : RenderSettings(settings));
}

int Explain(const Request& request) {
  const Option* option = FindOption(request.value);
  if (option == nullptr) {
    const std::string nearest = NearestOption(request.value);
    Complain(absl::StrCat("no option ", request.value,
                          nearest.empty() ? "; retprobe config --list shows all"
                                          : "; the nearest is ",
                          nearest));
    return kWrong;
  }
  return Write(request.json ? RenderOptionsJson({option, 1})
                            : RenderOption(*option));
}

int Check(const Request& request) {
  const Settings settings = Settings::Load({.file = request.value});
  const bool fine = settings.Errors().empty();
  if (request.json) {
    const int written = Write(RenderCheckJson(request.value, settings));
    return written != 0 || fine ? written : kWrong;
  }
  if (!ComplainAbout(settings)) return kWrong;
  return Write(absl::StrCat(request.value, ": nothing is wrong\n"));
}

}  // namespace

int RunConfig(absl::Span<const std::string> arguments) {
  const absl::StatusOr<Request> request = Parse(arguments);
  if (!request.ok()) {
    Complain(request.status().message());
    return kWrong;
  }
  switch (request->kind) {
    case Request::Kind::kShow:
      return Show(*request);
    case Request::Kind::kList:
      return Write(request->json ? RenderOptionsJson(AllOptions())
                                 : RenderOptions());
    case Request::Kind::kExplain:
      return Explain(*request);
    case Request::Kind::kCheck:
      return Check(*request);
    case Request::Kind::kHelp:
      break;
  }
  return Write(kHelp);
}

}  // namespace retprobe::cli
