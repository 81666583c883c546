// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>

#include "agent/allocator.h"
#include "agent/channel.h"
#include "agent/environment.h"
#include "agent/handlers.h"
#include "agent/live.h"
#include "agent/loader_hook.h"
#include "agent/probing.h"
#include "agent/segment.h"
#include "agent/session.h"
#include "agent/system_calls.h"
#include "agent/zydis.h"
#include "config/active.h"
#include "rethook/guard.h"

// The agent: preloaded into a program by the `retprobe` command. Asks the
// command what to probe before the program's main runs, probes it, and from
// then on is only handlers. Whatever goes wrong here is told to the command,
// and the program runs on without probes.
namespace retprobe::agent {
namespace {

using session::AnnouncementKind;
using session::FunctionState;
using session::HelloKind;

// How often modules were loaded and unloaded so far.
struct LoaderCounts {
  unsigned long long loads = 0;
  unsigned long long unloads = 0;
};

struct Agent {
  std::string socket_path;
  session::Setup setup;
  Probing probing;
  LoaderCounts seen;
};

// Never destroyed: handlers run until the process is no more.
Agent* g_agent = nullptr;

class ErrnoKept {
 public:
  ~ErrnoKept() { errno = saved_; }

 private:
  int saved_ = errno;
};

void Close(int descriptor) { Syscall(SYS_close, descriptor); }

LoaderCounts CountLoads() {
  LoaderCounts counts;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        *static_cast<LoaderCounts*>(data) = {info->dlpi_adds, info->dlpi_subs};
        return 1;
      },
      &counts);
  return counts;
}

// After every dlopen; see HookLoader.
void OnModulesChanged() {
  Agent& agent = *g_agent;
  SetupScope own_calls;
  ErrnoKept errno_kept;
  // A forked child that is not followed has nothing to probe for.
  if (g_live->armed == 0) return;
  const LoaderCounts counts = CountLoads();
  if (counts.loads == agent.seen.loads) return;
  if (counts.unloads != agent.seen.unloads) agent.probing.DropGone();
  agent.seen = counts;
  auto segment = agent.probing.Probe();
  agent.probing.StoreMissed();
  if (segment == nullptr) return;
  const int descriptor = agent.probing.Publish(std::move(segment));
  if (descriptor < 0) return;
  Channel channel(agent.socket_path.c_str(), HelloKind::kLoaded);
  session::Setup ignored;
  channel.Receive(&ignored, sizeof(ignored));
  channel.Send(AnnouncementKind::kSegment, descriptor);
  channel.Finish();
  Close(descriptor);
}

// In a forked child when children are followed: the same probes, new counters.
void OnForkInChild() {
  Agent& agent = *g_agent;
  SetupScope own_calls;
  ErrnoKept errno_kept;
  UnlockAllocatorInChild();
  if (!SetUpLive(agent.setup)) return;
  Channel channel(agent.socket_path.c_str(), HelloKind::kForked);
  session::Setup ignored;
  if (channel.Receive(&ignored, sizeof(ignored)) < sizeof(ignored)) return;
  if ((agent.setup.flags & session::kFlagEvents) != 0) {
    const int rings = MapRings(agent.setup);
    if (rings < 0) return;
    channel.Send(AnnouncementKind::kRing, rings);
    Close(rings);
  }
  for (auto& segment : agent.probing.segments()) {
    int descriptor = -1;
    if (!segment->MapAgain(&descriptor)) return;
    channel.Send(AnnouncementKind::kSegment, descriptor);
    Close(descriptor);
  }
  agent.probing.StartCountingAnew();
  if (channel.Finish()) Arm();
}

// What cannot go on is said in the segment; the program goes on. The
// environment is the program's: only the command says how to configure.
std::unique_ptr<Segment> ProbeAtStart(const char* patterns,
                                      const char* options) {
  auto failed = [](absl::string_view error) {
    auto segment = std::make_unique<Segment>(0);
    segment->SetError(error);
    return segment;
  };
  const absl::Status parsed = g_agent->probing.ParsePatterns(patterns);
  g_agent->probing.ParseChoice(options + g_agent->setup.options_size);
  if (!parsed.ok()) return failed(parsed.message());
  const absl::Status configured = ReplaceConfigSources({.program = {options}});
  if (!configured.ok()) return failed(configured.message());
  if (!LoadZydis()) {
    return failed(
        "libZydis.so.4.0 cannot be loaded (Debian: apt install libzydis4.0)");
  }
  return g_agent->probing.Probe();
}

void WatchForMore(Segment& segment) {
  g_agent->seen = CountLoads();
  const absl::Status hooked = HookLoader(OnModulesChanged);
  if (!hooked.ok()) {
    segment.SetWarning("modules loaded later are not covered: " +
                       std::string(hooked.message()));
  }
  if ((g_agent->setup.flags & session::kFlagFollow) != 0) {
    pthread_atfork(nullptr, nullptr, OnForkInChild);
  }
}

std::string ProgramPath() {
  char path[4096];
  const long length =
      Syscall(SYS_readlink, "/proc/self/exe", path, sizeof(path));
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : "";
}

// Memory with the word that there is none for the rest: its descriptor, or -1.
int PublishShortage() {
  Segment segment(0);
  segment.SetProgram(ProgramPath());
  segment.SetError(
      "the program's limits (RLIMIT_AS, RLIMIT_FSIZE, RLIMIT_NOFILE) leave no "
      "room for the counters of so many functions");
  int descriptor = -1;
  segment.Map(g_agent->setup.cpus, &descriptor);
  return descriptor;
}

// Everything between the command's setup and its verdict.
void Run(Channel& channel, const char* patterns, const char* options) {
  Agent& agent = *g_agent;
  if (!SetUpLive(agent.setup)) return;
  auto segment = ProbeAtStart(patterns, options);
  bool fine = !segment->failed();
  segment->SetProgram(ProgramPath());
  if (fine) WatchForMore(*segment);
  int descriptor = agent.probing.Publish(std::move(segment));
  if (descriptor < 0) {
    fine = false;
    descriptor = PublishShortage();
    if (descriptor < 0) return;
  }
  agent.probing.StoreMissed();
  channel.Send(AnnouncementKind::kSegment, descriptor);
  Close(descriptor);
  if ((agent.setup.flags & session::kFlagEvents) != 0) {
    const int rings = MapRings(agent.setup);
    if (rings >= 0) {
      channel.Send(AnnouncementKind::kRing, rings);
      Close(rings);
    }
  }
  if (!channel.Finish()) {
    Syscall(SYS_exit_group, session::kExitByVerdict);
  }
  if (fine) Arm();
}

[[gnu::constructor]] void Start(int, char**, char** envp) {
  const char* socket_path = FindVariable(envp, session::kSocketVariable);
  if (socket_path == nullptr) return;
  SetupScope own_calls;
  ErrnoKept errno_kept;
  const std::string path = socket_path;
  constexpr size_t kBuffer = 256 * 1024;
  auto buffer = std::make_unique<char[]>(kBuffer);
  Channel channel(path.c_str(), HelloKind::kStart);
  const size_t received = channel.Receive(buffer.get(), kBuffer);
  session::Setup setup = {};
  if (received >= sizeof(setup)) memcpy(&setup, buffer.get(), sizeof(setup));
  if ((setup.flags & session::kFlagFollow) == 0) {
    RestoreEnvironment(envp, (setup.flags & session::kFlagPreloadWasSet) != 0);
  }
  if (setup.magic != session::kMagic || setup.version != session::kVersion ||
      received != sizeof(setup) + setup.patterns_size + setup.options_size +
                      setup.callers_size + setup.threads_size) {
    return;
  }
  g_agent = new Agent{path, setup, Probing(setup), {}};
  const char* patterns = buffer.get() + sizeof(setup);
  Run(channel, patterns, patterns + setup.patterns_size);
}

[[gnu::destructor]] void Stop() {
  SetupScope own_calls;
  if (g_agent != nullptr && g_live->armed != 0) g_agent->probing.StoreMissed();
}

}  // namespace
}  // namespace retprobe::agent
