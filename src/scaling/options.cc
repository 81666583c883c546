// SPDX-License-Identifier: Apache-2.0
#include "scaling/options.h"

#include <getopt.h>

#include <algorithm>
#include <functional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace retprobe::scaling {
namespace {

absl::Status Error(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, "; see retprobe usl --help"));
}

// "32,64": ascending numbers of threads.
absl::StatusOr<std::vector<int>> ThreadList(absl::string_view option,
                                            absl::string_view text) {
  std::vector<int> list;
  for (absl::string_view word : absl::StrSplit(text, ',')) {
    int threads;
    if (!absl::SimpleAtoi(word, &threads) || threads < 1) {
      return Error(absl::StrCat(option, ": '", word,
                                "' is not a number of threads (1, 2, ...)"));
    }
    list.push_back(threads);
  }
  if (std::adjacent_find(list.begin(), list.end(), std::greater_equal<int>()) !=
      list.end()) {
    return Error(absl::StrCat(option, ": '", text, "' does not ascend"));
  }
  return list;
}

absl::Status SetLaw(absl::string_view name, Options& options) {
  for (const Law law : {Law::kAmdahl, Law::kUsl}) {
    if (name == LawName(law)) {
      options.question.law = law;
      return absl::OkStatus();
    }
  }
  if (name == "auto") return absl::OkStatus();
  return Error(absl::StrCat("--law: '", name, "' is not auto, amdahl or usl"));
}

absl::Status SetAxes(absl::string_view name, Options& options) {
  options.linear_axes = name == "linear";
  if (name == "linear" || name == "log") return absl::OkStatus();
  return Error(absl::StrCat("--axes: '", name, "' is not log or linear"));
}

absl::Status SetList(absl::string_view option, absl::string_view text,
                     std::vector<int>& list) {
  auto read = ThreadList(option, text);
  if (!read.ok()) return read.status();
  list = *std::move(read);
  return absl::OkStatus();
}

enum Letter {
  kAxes = 'a',
  kHelp = 'h',
  kJson = 'j',
  kLaw = 'l',
  kPredict = 'p',
  kSegments = 'g',
  kSeries = 's',
  kSvg = 'v',
  kThreadsColumn = 't',
};

constexpr option kOptions[] = {
    {"axes", required_argument, nullptr, kAxes},
    {"help", no_argument, nullptr, kHelp},
    {"json", no_argument, nullptr, kJson},
    {"law", required_argument, nullptr, kLaw},
    {"predict", required_argument, nullptr, kPredict},
    {"segments", required_argument, nullptr, kSegments},
    {"series", required_argument, nullptr, kSeries},
    {"svg", required_argument, nullptr, kSvg},
    {"threads-column", required_argument, nullptr, kThreadsColumn},
    {nullptr, 0, nullptr, 0},
};

absl::Status SetOption(int letter, const std::string& value, Options& options) {
  switch (letter) {
    case kAxes:
      return SetAxes(value, options);
    case kLaw:
      return SetLaw(value, options);
    case kPredict:
      return SetList("--predict", value, options.question.predict);
    case kSegments:
      options.by_package = value == "package";
      if (options.by_package) return absl::OkStatus();
      return SetList("--segments", value, options.question.segments);
    case kHelp:
      options.help = true;
      break;
    case kJson:
      options.json = true;
      break;
    case kSeries:
      options.selection.globs.push_back(value);
      break;
    case kSvg:
      options.svg = value;
      break;
    case kThreadsColumn:
      options.selection.threads_column = value;
      break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Options> ParseOptions(int argc, char** argv) {
  Options options;
  optind = 0;  // begins anew, also for tests that come here twice
  opterr = 0;
  for (;;) {
    const int first = std::max(optind, 1);
    const int letter = getopt_long(argc, argv, ":h", kOptions, nullptr);
    if (letter == -1) break;
    const std::string word = argv[std::max(optind - 1, first)];
    if (letter == ':') return Error(absl::StrCat(word, " wants a value"));
    if (letter == '?') return Error(absl::StrCat("unknown option ", word));
    const std::string value = optarg == nullptr ? "" : optarg;
    if (optarg != nullptr && value.empty()) {
      return Error(absl::StrCat(word, " is empty"));
    }
    const absl::Status status = SetOption(letter, value, options);
    if (!status.ok()) return status;
    if (options.help) return options;
  }
  if (optind == argc) return Error("no file of measurements");
  if (optind + 1 < argc) {
    return Error(absl::StrCat("one file only, not also ", argv[optind + 1]));
  }
  options.file = argv[optind];
  if (options.file.empty()) return Error("the file's name is empty");
  return options;
}

std::string Help() {
  return R"(Usage: retprobe usl [OPTION...] FILE

Fits Amdahl's law and the Universal Scalability Law to throughput by threads,

  X(N) = g N / (1 + a (N - 1) + b N (N - 1))     (Amdahl's law: b = 0)

and says how far throughput will grow: it peaks at N = sqrt((1 - a) / b).
g is the throughput of one thread, a the part of the work that waits its turn
(contention), b what each pair of threads costs (coherence).

FILE ("-": standard input) is one of
  - what Google Benchmark writes with --benchmark_out=FILE: items_per_second by
    threads, the median of repetitions, a series for each name but "/threads:N"
  - CSV with a column "threads", or else the first that holds numbers, and a
    column for each series; columns left of it are put in front of their names
  - CSV with a first line of numbers of threads, and a line for each series
In CSV a line that begins with # is a comment, and an empty cell no measurement.

      --series GLOB      only these series; may be repeated
      --threads-column NAME   the CSV column of the numbers of threads
      --law LAW          amdahl, usl, or auto: what AICc prefers (default)
      --segments 32,64   fit up to 32 threads, from there up to 64, and above,
                         each by itself: for cliffs where sockets join
      --segments package the same at the ends of packages (sockets), and of
                         their cores before each gets a second thread, for
                         threads pinned in the order of CPU numbers. Of this
                         machine or the one that HWLOC_XMLFILE describes
      --predict 128,256  throughput at so many threads
      --svg FILE         draw points and curves
      --axes log|linear  of the drawing (default log)
      --json             report in JSON; null stands for infinity

Least squares of log X, a and b at least 0. The second line of each row holds
95 % confidence intervals (profile likelihood). AICc compares the laws: the
lower one is to be believed. "rms log" is the size of the residuals of log X;
above 0.2 the law does not describe the measurements.

Exit status: 0; 1 when the file cannot be read or no series can be fitted; 2
when the command line is wrong.
)";
}

}  // namespace retprobe::scaling
