// SPDX-License-Identifier: Apache-2.0
#include "cli/run.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/cpu.h"
#include "cli/event_writer.h"
#include "cli/launch.h"
#include "cli/live_table.h"
#include "cli/output.h"
#include "cli/program.h"
#include "cli/report.h"
#include "cli/session_clock.h"
#include "cli/session_server.h"
#include "config/settings.h"
#include "probe/refused.h"
#include "symbols/symbols.h"

namespace retprobe::cli {
namespace {

using session::FunctionState;

constexpr uint32_t kRingCapacity = 8192;  // events per CPU: 768 KiB
constexpr int kLivePeriod = 1000;         // ms

// One `trace` or `list`, from start to end.
class Runner {
 public:
  explicit Runner(const Options& options)
      : options_(options), writer_(&clock_, options.json) {}

  int Run();

 private:
  bool list() const { return options_.command == Command::kList; }
  absl::Status Prepare();
  absl::Status CheckPatterns() const;
  absl::Status ReadConfig();
  absl::Status StartServer();
  absl::Status StartProgram();
  bool Judge(const Process& process);
  void Follow();
  bool WriteEvents();
  int Finish(int wait_status);
  void ComplainAbout(const Report& report) const;
  void Restrict(Report& report) const;
  void WriteReport(const Report& report) const;

  const Options& options_;
  std::string config_;  // what is not default, as options
  SessionClock clock_;
  EventLoop loop_;
  UniqueFd output_;
  std::unique_ptr<SessionServer> server_;
  std::optional<Child> child_;
  EventWriter writer_;
  bool judged_ = false;
  bool refused_ = false;  // the program was stopped before main
};

absl::Status Runner::CheckPatterns() const {
  for (const std::string& text : options_.patterns) {
    auto pattern = Pattern::Parse(text);
    if (!pattern.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("pattern '", text, "': ", pattern.status().message()));
    }
  }
  for (const std::string& text : options_.callers) {
    const absl::Status right = CheckCodeText(text);
    if (!right.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--caller: ", right.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status Runner::ReadConfig() {
  const Settings settings = Settings::Load(ConfigSources::FromEnvironment());
  if (!settings.status().ok()) return settings.status();
  config_ = settings.OptionsText();
  return Blacklist::Parse(settings.config().probe.blacklist).status();
}

absl::Status Runner::StartServer() {
  session::Setup setup = {};
  setup.magic = session::kMagic;
  setup.version = session::kVersion;
  setup.flags =
      (options_.follow ? uint32_t{session::kFlagFollow} : 0) |
      (options_.events ? uint32_t{session::kFlagEvents} : 0) |
      (list() ? uint32_t{session::kFlagListOnly} : 0) |
      (PreloadIsSet() ? uint32_t{session::kFlagPreloadWasSet} : 0) |
      (clock_.uses_cycle_counter() ? uint32_t{session::kFlagCycleCounter} : 0);
  setup.cpus = static_cast<uint32_t>(PossibleCpus());
  setup.ring_capacity = kRingCapacity;
  setup.max_depth = options_.depth;
  setup.max_hits = options_.limit;
  auto server = SessionServer::Create(
      &loop_, setup,
      {options_.patterns, config_, options_.callers, options_.threads},
      [this](const Process& process) { return Judge(process); });
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  server_->set_prepare([this](session::Setup& to_send) {
    clock_.Calibrate();
    to_send.nanoseconds_per_tick_q32 = clock_.nanoseconds_per_tick_q32();
  });
  return absl::OkStatus();
}

absl::Status Runner::StartProgram() {
  auto agent = FindAgent();
  if (!agent.ok()) return agent.status();
  // The dynamic linker takes both for separators.
  if (agent->find_first_of(": ") != std::string::npos) {
    return absl::FailedPreconditionError(absl::StrCat(
        *agent, ": cannot be preloaded from a path with a colon or a space"));
  }
  auto program = FindProgram(options_.program);
  if (!program.ok()) return program.status();
  const absl::Status serving = StartServer();
  if (!serving.ok()) return serving;
  auto child = Child::Start(*program, {*agent, server_->socket_path()});
  if (!child.ok()) return child.status();
  child_.emplace(*std::move(child));
  return absl::OkStatus();
}

absl::Status Runner::Prepare() {
  absl::Status status = CheckPatterns();
  if (status.ok()) status = ReadConfig();
  if (!status.ok()) return status;
  auto output =
      OpenOutput(options_.output, list() ? STDOUT_FILENO : STDERR_FILENO);
  if (!output.ok()) return output.status();
  output_ = *std::move(output);
  status = StartProgram();
  if (!status.ok()) return status;
  // A descriptor or two for every process that is followed.
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  loop_.Add(child_->signal_fd(), [this] { child_->Forward(); });
  return absl::OkStatus();
}

// The first image decides: when nothing is probed, and no pattern waits for a
// module that may yet come, running the program would be pointless.
bool Runner::Judge(const Process& process) {
  if (judged_) return !refused_;
  judged_ = true;
  refused_ = list();
  bool probed = false;
  bool waiting = false;
  for (const auto& segment : process.segments) {
    refused_ |= !segment->error().empty();
    for (const FunctionReport& function : segment->ReadFunctions()) {
      probed |= function.state == FunctionState::kProbed;
    }
    for (uint32_t i = 0; i < segment->pattern_count(); ++i) {
      waiting |= segment->pattern(i).modules == 0;
    }
  }
  refused_ |= !probed && !waiting;
  return !refused_;
}

bool Runner::WriteEvents() {
  return server_->ReadEvents([this](SessionServer::Events& events) {
    std::string text;
    writer_.Append(events, &text);
    WriteAll(output_.get(), text);
  });
}

uint64_t Milliseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 +
         static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

void Runner::Follow() {
  const bool live_wanted = !list() && LiveTable::Wanted(options_);
  LiveTable live;
  uint64_t drawn = Milliseconds();
  while (!child_->Ended()) {
    const bool busy = options_.events && WriteEvents();
    loop_.RunOnce(busy ? 0 : options_.events ? 1 : kLivePeriod);
    if (live_wanted && !child_->Ended() &&
        Milliseconds() - drawn >= kLivePeriod) {
      Report report = server_->Collect();
      Restrict(report);
      live.Draw(report);
      drawn = Milliseconds();
    }
  }
  live.Clear();
  // What arrived together with the end.
  for (int i = 0; i < 4; ++i) loop_.RunOnce(0);
  while (options_.events && WriteEvents()) {
  }
}

// A function that is refused for the reason that most are; null without any.
const FunctionReport* MostCommonlyRefused(const Report& report) {
  std::map<std::string, size_t> counts;
  const FunctionReport* most = nullptr;
  size_t count_of_most = 0;
  for (const auto& [key, function] : report.functions) {
    const size_t count =
        ++counts[absl::StrReplaceAll(function.reason, {{function.name, ""}})];
    if (count <= count_of_most) continue;
    most = &function;
    count_of_most = count;
  }
  return most;
}

void Runner::ComplainAbout(const Report& report) const {
  for (const std::string& error : report.errors) Complain(error);
  for (const std::string& warning : report.warnings) Complain(warning);
  if (!judged_) {
    Complain("the agent was not loaded into the program");
    return;
  }
  for (const PatternReport& pattern : report.patterns) {
    if (pattern.functions != 0 || !report.errors.empty()) continue;
    Complain(absl::StrCat("pattern '", pattern.text,
                          "' matched nothing: ", pattern.note));
  }
  if (report.probed() != 0 || !report.matched_anything()) return;
  const FunctionReport* example = MostCommonlyRefused(report);
  if (example == nullptr) return;
  Complain(
      absl::StrCat("cannot probe ", DisplayName(example->module, example->name),
                   ": ", example->reason,
                   report.functions.size() > 1
                       ? absl::StrCat(" (and ", report.functions.size() - 1,
                                      " more that cannot be probed)")
                       : ""));
}

// Says which calls were meant.
void Runner::Restrict(Report& report) const {
  report.threads = options_.threads;
  report.callers = options_.callers;
  report.depth = options_.depth;
  report.limit = options_.limit;
}

void Runner::WriteReport(const Report& report) const {
  if (options_.reach) {
    WriteAll(output_.get(),
             options_.json ? report.reach.Json() : report.reach.Table());
  } else if (options_.json) {
    std::string text = RenderJson(report, !options_.events);
    WriteAll(output_.get(), text);
  } else if (list()) {
    WriteAll(output_.get(), RenderList(report, options_.refused));
  } else {
    WriteAll(output_.get(), RenderTable(report, 0));
  }
}

int Runner::Finish(int wait_status) {
  Report report = server_->Collect();
  Restrict(report);
  const bool nothing = report.probed() == 0;
  if (list()) {
    const bool matched = report.matched_anything();
    if (options_.refused) KeepRefused(report);
    if (!options_.refused || !matched) ComplainAbout(report);
    if (matched) WriteReport(report);
    return (options_.refused ? !matched : nothing) ? 125 : 0;
  }
  if (!nothing) WriteReport(report);
  ComplainAbout(report);
  if (refused_) return 125;
  if (nothing && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) {
    return 125;
  }
  server_.reset();  // removes its directory; ExitLike does not return
  ExitLike(wait_status);
}

int Runner::Run() {
  const absl::Status ready = Prepare();
  if (!ready.ok()) {
    Complain(ready.message());
    return ExitStatusFor(ready);
  }
  Follow();
  return Finish(child_->Wait());
}

}  // namespace

int Run(const Options& options) { return Runner(options).Run(); }

}  // namespace retprobe::cli
