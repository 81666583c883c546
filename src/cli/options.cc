// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace retprobe::cli {
namespace {

constexpr uint64_t kMaxDepth = 65535;  // ReturnProbeOptions::max_depth

// Reads one command's arguments from left to right.
class Reader {
 public:
  Reader(absl::Span<const std::string> arguments, std::string command)
      : arguments_(arguments), command_(std::move(command)) {}

  bool AtEnd() const { return next_ == arguments_.size(); }
  const std::string& Peek() const { return arguments_[next_]; }
  std::string Take() { return arguments_[next_++]; }
  std::vector<std::string> TakeRest() {
    std::vector<std::string> rest(arguments_.begin() + next_, arguments_.end());
    next_ = arguments_.size();
    return rest;
  }

  // Takes the option with a value `letter` ("-e") or `word` ("--probe") in any
  // of its spellings: -e V, -eV, --probe V, --probe=V. False if it is another.
  absl::StatusOr<bool> TakeValue(absl::string_view letter,
                                 absl::string_view word, std::string* value) {
    absl::string_view argument = Peek();
    if (argument == word || (!letter.empty() && argument == letter)) {
      Take();
      if (AtEnd()) return Error(absl::StrCat(argument, " wants a value"));
      *value = Take();
    } else if (absl::StartsWith(argument, absl::StrCat(word, "="))) {
      *value = std::string(argument.substr(word.size() + 1));
      Take();
    } else if (!letter.empty() && absl::StartsWith(argument, letter) &&
               !absl::StartsWith(argument, "--")) {
      *value = std::string(argument.substr(letter.size()));
      Take();
    } else {
      return false;
    }
    if (value->empty()) return Error(absl::StrCat(word, " is empty"));
    return true;
  }

  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat(what, "; see retprobe ", command_, " --help"));
  }

 private:
  absl::Span<const std::string> arguments_;
  std::string command_;
  size_t next_ = 0;
};

bool TakeFlag(Reader& reader, bool trace, Options& options) {
  const std::string& flag = reader.Peek();
  if (flag == "--json") {
    options.json = true;
  } else if (flag == "--reach" && !trace) {
    options.reach = true;
  } else if (flag == "--refused" && !trace) {
    options.refused = true;
  } else if (flag == "--events" && trace) {
    options.events = true;
  } else if (flag == "--follow" && trace) {
    options.follow = true;
  } else if (flag == "--live" && trace) {
    options.live = LiveWish::kAlways;
  } else if (flag == "--no-live" && trace) {
    options.live = LiveWish::kNever;
  } else {
    return false;
  }
  reader.Take();
  return true;
}

absl::Status AddThreads(const Reader& reader, absl::string_view list,
                        absl::string_view sign,
                        std::vector<std::string>& threads) {
  for (const absl::string_view thread : absl::StrSplit(list, ',')) {
    int id = 0;
    if (thread != "main" && (!absl::SimpleAtoi(thread, &id) || id <= 0)) {
      return reader.Error(absl::StrCat(
          "'", thread, "' is no thread; expected main or a number from 1"));
    }
    threads.push_back(absl::StrCat(sign, thread));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ParseCount(const Reader& reader,
                                    absl::string_view option,
                                    absl::string_view text, uint64_t most) {
  uint64_t count = 0;
  if (!absl::SimpleAtoi(text, &count) || count < 1 || count > most) {
    return reader.Error(
        absl::StrCat(option, " is '", text, "'; expected 1 .. ", most));
  }
  return count;
}

// Takes an option that says which calls are meant.
absl::StatusOr<bool> TakeChoice(Reader& reader, Options& options) {
  std::string value;
  for (const absl::string_view word :
       {"--tid", "--not-tid", "--caller", "--depth", "--limit"}) {
    const auto taken = reader.TakeValue("", word, &value);
    if (!taken.ok()) return taken;
    if (!*taken) continue;
    if (word == "--caller") {
      options.callers.push_back(value);
    } else if (word == "--depth" || word == "--limit") {
      const bool depth = word == "--depth";
      const auto count =
          ParseCount(reader, word, value, depth ? kMaxDepth : UINT64_MAX);
      if (!count.ok()) return count.status();
      if (depth) {
        options.depth = static_cast<uint32_t>(*count);
      } else {
        options.limit = *count;
      }
    } else {
      const absl::Status added = AddThreads(
          reader, value, word == "--tid" ? "" : "!", options.threads);
      if (!added.ok()) return added;
    }
    return true;
  }
  return false;
}

absl::StatusOr<bool> TakeAttached(Reader& reader, Options& options) {
  std::string value;
  const auto taken = reader.TakeValue("", "--attached", &value);
  if (!taken.ok() || !*taken) return taken;
  if (!absl::SimpleAtoi(value, &options.attached) || options.attached < 1) {
    return reader.Error(absl::StrCat("--attached is '", value,
                                     "'; expected the id of a process"));
  }
  return true;
}

absl::StatusOr<bool> TakeOption(Reader& reader, bool trace, Options& options) {
  if (TakeFlag(reader, trace, options)) return true;
  if (trace) {
    const auto taken = TakeChoice(reader, options);
    if (!taken.ok() || *taken) return taken;
  }
  if (!trace) {
    const auto taken = TakeAttached(reader, options);
    if (!taken.ok() || *taken) return taken;
  }
  std::string pattern;
  auto taken = reader.TakeValue("-e", "--probe", &pattern);
  if (!taken.ok()) return taken;
  if (*taken) {
    options.patterns.push_back(pattern);
    return true;
  }
  return reader.TakeValue("-o", "--output", &options.output);
}

absl::Status CheckComplete(const Reader& reader, const Options& options) {
  if (options.attached != 0) {
    return options.patterns.empty() && options.program.empty()
               ? absl::OkStatus()
               : reader.Error("--attached goes without patterns and program");
  }
  if (options.patterns.empty()) {
    return reader.Error("no pattern: what shall be probed?");
  }
  if (options.program.empty()) {
    return reader.Error("no program to run");
  }
  return absl::OkStatus();
}

// trace and list differ in what a word without dash means: the program, or a
// pattern.
absl::StatusOr<Options> ParseRun(absl::Span<const std::string> arguments,
                                 Command command) {
  const bool trace = command == Command::kTrace;
  Reader reader(arguments, trace ? "trace" : "list");
  Options options;
  options.command = command;
  while (!reader.AtEnd()) {
    const std::string& argument = reader.Peek();
    if (argument == "--") {
      reader.Take();
      options.program = reader.TakeRest();
    } else if (argument == "--help" || argument == "-h") {
      options.command = Command::kHelp;
      options.help = trace ? TraceHelp() : ListHelp();
      return options;
    } else if (argument.size() > 1 && argument[0] == '-') {
      auto taken = TakeOption(reader, trace, options);
      if (!taken.ok()) return taken.status();
      if (!*taken) {
        return reader.Error(absl::StrCat("unknown option ", argument));
      }
    } else if (trace) {
      options.program = reader.TakeRest();
    } else {
      options.patterns.push_back(reader.Take());
    }
  }
  const absl::Status complete = CheckComplete(reader, options);
  if (!complete.ok()) return complete;
  return options;
}

}  // namespace

absl::StatusOr<Options> ParseOptions(absl::Span<const std::string> arguments) {
  if (arguments.empty()) {
    return absl::InvalidArgumentError("no command; see retprobe --help");
  }
  const std::string& command = arguments[0];
  if (command == "trace") {
    return ParseRun(arguments.subspan(1), Command::kTrace);
  }
  if (command == "list") return ParseRun(arguments.subspan(1), Command::kList);
  Options options;
  if (command == "--help" || command == "-h" || command == "help") {
    options.help = GeneralHelp();
    return options;
  }
  if (command == "--version") {
    options.command = Command::kVersion;
    return options;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown command '", command, "'; see retprobe --help"));
}

}  // namespace retprobe::cli
