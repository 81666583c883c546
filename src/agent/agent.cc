// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "agent/allocator.h"
#include "agent/channel.h"
#include "agent/environment.h"
#include "agent/handlers.h"
#include "agent/live.h"
#include "agent/loader_hook.h"
#include "agent/scan.h"
#include "agent/segment.h"
#include "agent/session.h"
#include "agent/system_calls.h"
#include "agent/zydis.h"
#include "retprobe/return_probe.h"

// The agent: preloaded into a program by the `retprobe` command. Asks the
// command what to probe before the program's main runs, probes it, and from
// then on is only handlers. Whatever goes wrong here is told to the command,
// and the program runs on without probes.
namespace retprobe::agent {
namespace {

using session::AnnouncementKind;
using session::FunctionState;
using session::HelloKind;

// Functions probed together, their probes and where they count.
struct Batch {
  explicit Batch(uint32_t first_function) : segment(first_function) {}
  Segment segment;
  std::unique_ptr<FunctionCells[]> cells;
  // Beside the segment's entries; empty where a function is refused.
  std::vector<std::unique_ptr<ReturnProbe>> probes;
};

struct Agent {
  std::string socket_path;
  session::Setup setup;
  Scanner scanner;
  std::vector<std::unique_ptr<Batch>> batches;
  uint32_t functions = 0;
  unsigned long long loads_seen = 0;  // dl_phdr_info's dlpi_adds
};

// Never destroyed: handlers run until the process is no more.
Agent* g_agent = nullptr;

class ErrnoKept {
 public:
  ~ErrnoKept() { errno = saved_; }

 private:
  int saved_ = errno;
};

ReturnProbeOptions OptionsFor(const FunctionCells* cells, bool events) {
  ReturnProbeOptions options;
  // The forwarders below are compiled with the rest of this file; they pass
  // two pointers on and touch no vector register (a test looks at the code).
  options.entry_handler = [cells](EntryContext& context) noexcept {
    return OnEntry(*cells, context);
  };
  options.return_handler = [cells](ReturnContext& context) noexcept {
    OnReturn(*cells, context);
  };
  options.data_size = kActivationData;
  options.saved_arguments = events ? kEventArguments : 0;
  options.handlers_leave_vectors_alone = true;
  return options;
}

// Attaches what the scan allowed; what is refused now gets its reason.
void Attach(Batch& batch, bool events) {
  std::vector<Segment::Entry>& entries = batch.segment.entries();
  batch.cells = std::make_unique<FunctionCells[]>(entries.size());
  batch.probes.resize(entries.size());
  std::vector<ReturnProbe::Request> requests;
  std::vector<size_t> places;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].reason.empty()) continue;
    requests.push_back({reinterpret_cast<void*>(entries[i].address),
                        OptionsFor(&batch.cells[i], events)});
    places.push_back(i);
  }
  auto results = ReturnProbe::AttachAll(absl::MakeSpan(requests));
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].ok()) {
      batch.probes[places[i]] =
          std::make_unique<ReturnProbe>(*std::move(results[i]));
    } else {
      entries[places[i]].reason = std::string(results[i].status().message());
    }
  }
}

// Puts the batch into shared memory and lets its handlers count there.
int Publish(Batch& batch, uint32_t cpus) {
  int descriptor = -1;
  if (!batch.segment.Map(cpus, &descriptor)) return -1;
  for (size_t i = 0; i < batch.probes.size(); ++i) {
    if (batch.probes[i] == nullptr) continue;
    batch.segment.records()[i].state = FunctionState::kProbed;
    batch.cells[i].Publish(batch.segment.CellsOf(static_cast<uint32_t>(i)));
  }
  return descriptor;
}

void StoreMissed() {
  for (auto& batch : g_agent->batches) {
    for (size_t i = 0; i < batch->probes.size(); ++i) {
      if (batch->probes[i] == nullptr) continue;
      const Missed missed = batch->probes[i]->nmissed();
      session::FunctionRecord& record = batch->segment.records()[i];
      record.missed_empty = missed.empty;
      record.missed_recursion = missed.recursion;
      record.missed_dying = missed.dying;
    }
  }
}

void Close(int descriptor) { Syscall(SYS_close, descriptor); }

unsigned long long LoadsSoFar() {
  unsigned long long loads = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        *static_cast<unsigned long long*>(data) = info->dlpi_adds;
        return 1;
      },
      &loads);
  return loads;
}

// After every dlopen; see HookLoader.
void OnModulesChanged() {
  Agent& agent = *g_agent;
  OwnCalls own_calls;
  ErrnoKept errno_kept;
  // A forked child that is not followed has nothing to probe for.
  if (g_live->armed == 0) return;
  const unsigned long long loads = LoadsSoFar();
  if (loads == agent.loads_seen) return;
  agent.loads_seen = loads;
  auto batch = std::make_unique<Batch>(agent.functions);
  if (!agent.scanner.Scan(batch->segment)) return;
  Attach(*batch, (agent.setup.flags & session::kFlagEvents) != 0);
  agent.functions += static_cast<uint32_t>(batch->probes.size());
  const int descriptor = Publish(*batch, agent.setup.cpus);
  if (descriptor < 0) return;
  agent.batches.push_back(std::move(batch));
  StoreMissed();
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
  OwnCalls own_calls;
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
  for (auto& batch : agent.batches) {
    int descriptor = -1;
    if (!batch->segment.MapAgain(&descriptor)) return;
    channel.Send(AnnouncementKind::kSegment, descriptor);
    Close(descriptor);
  }
  if (channel.Finish()) Arm();
}

// What cannot go on is said in the segment; the program goes on.
std::string ProbeAtStart(Batch& batch, const char* patterns) {
  Agent& agent = *g_agent;
  const absl::Status parsed =
      agent.scanner.ParsePatterns(patterns, agent.setup.patterns_size);
  if (!parsed.ok()) return std::string(parsed.message());
  if (!LoadZydis()) {
    return "libZydis.so.4.0 cannot be loaded (Debian: apt install "
           "libzydis4.0)";
  }
  agent.scanner.Scan(batch.segment);
  Attach(batch, (agent.setup.flags & session::kFlagEvents) != 0);
  agent.functions = static_cast<uint32_t>(batch.probes.size());
  return "";
}

void WatchForMore(Segment& segment) {
  g_agent->loads_seen = LoadsSoFar();
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

// Everything between the command's setup and its verdict.
void Run(Channel& channel, const char* patterns) {
  Agent& agent = *g_agent;
  if (!SetUpLive(agent.setup)) return;
  auto batch = std::make_unique<Batch>(0);
  batch->segment.SetProgram(ProgramPath());
  const std::string error = ProbeAtStart(*batch, patterns);
  if (error.empty()) {
    WatchForMore(batch->segment);
  } else {
    batch->segment.SetError(error);
  }
  const int descriptor = Publish(*batch, agent.setup.cpus);
  if (descriptor < 0) return;
  agent.batches.push_back(std::move(batch));
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
  if (error.empty()) Arm();
}

[[gnu::constructor]] void Start(int, char**, char** envp) {
  const char* socket_path = FindVariable(envp, session::kSocketVariable);
  if (socket_path == nullptr) return;
  OwnCalls own_calls;
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
      received != sizeof(setup) + setup.patterns_size) {
    return;
  }
  g_agent = new Agent{path, setup, {}, {}};
  Run(channel, buffer.get() + sizeof(setup));
}

[[gnu::destructor]] void Stop() {
  OwnCalls own_calls;
  if (g_agent != nullptr && g_live->armed != 0) StoreMissed();
}

}  // namespace
}  // namespace retprobe::agent
