// SPDX-License-Identifier: Apache-2.0
#include "held/tracee.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <new>
#include <optional>
#include <thread>

#include "patch/live_patch.h"
#include "patch/thread_mover.h"
#include "patch/trap.h"
#include "probe/registry.h"

namespace retprobe::test {
namespace {

using Clock = std::chrono::steady_clock;

std::optional<ReturnProbe> g_probe;

void Nap() { usleep(200); }

}  // namespace

Tracee::Shared* Tracee::shared_;

void Tracee::Perform(int command, void* function) {
  ReturnProbeOptions options;
  absl::Status status;
  switch (command) {
    case kAttach: {
      options.entry_handler = [](EntryContext&) noexcept {
        ++shared_->entries;
        return true;
      };
      options.return_handler = [](ReturnContext&) noexcept {
        ++shared_->returns;
      };
      auto probe = ReturnProbe::Attach(function, std::move(options));
      status = probe.status();
      if (probe.ok()) g_probe.emplace(*std::move(probe));
      // Behind an endbr64, if there is one.
      for (uintptr_t at : {0, 4}) {
        const EntryPatch* patch =
            ArmedPatches().Find(reinterpret_cast<uintptr_t>(function) + at);
        if (patch != nullptr) shared_->patch = *patch;
      }
      break;
    }
    case kDetach:
      g_probe.reset();
      break;
    case kDisable:
      g_probe->Disable();
      break;
    case kEnable:
      g_probe->Enable();
      break;
    default:
      _exit(0);
  }
  shared_->ok = status.ok();
  shared_->in_use = Registry::Get().InstancesInUse();
  std::snprintf(shared_->message, sizeof(shared_->message), "%s",
                status.ToString().c_str());
}

void Tracee::Run(Entry function, bool punning) {
  alarm(120);
  live_patch_faults.no_punning = !punning;
  thread_patience = {std::chrono::milliseconds(300), std::chrono::seconds(30)};
  struct sigaction action = {};
  action.sa_handler = [](int) {
    shared_->in_handler = true;
    while (!shared_->leave) {
    }
  };
  sigaction(SIGUSR1, &action, nullptr);
  std::thread([function] {
    shared_->thread = static_cast<pid_t>(syscall(SYS_gettid));
    for (;;) {
      while (shared_->calls_wanted == shared_->calls_made) {
      }
      shared_->result = function(40, 2);
      ++shared_->calls_made;
    }
  }).detach();
  for (;;) {
    while (shared_->asked == shared_->done) Nap();
    const auto begin = Clock::now();
    Perform(shared_->command, reinterpret_cast<void*>(function));
    shared_->seconds =
        std::chrono::duration<double>(Clock::now() - begin).count();
    ++shared_->done;
  }
}

Tracee::Tracee(Entry function, bool punning) {
  if (shared_ == nullptr) {
    shared_ = static_cast<Shared*>(mmap(nullptr, sizeof(Shared),
                                        PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  }
  new (shared_) Shared();
  child_ = fork();
  if (child_ == 0) Run(function, punning);
  while (shared_->thread == 0) Nap();
  thread_ = shared_->thread;
  if (ptrace(PTRACE_SEIZE, thread_, nullptr, nullptr) != 0) {
    unavailable_ = "ptrace is not permitted";
    return;
  }
  ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr);
  int status = 0;
  waitpid(thread_, &status, __WALL);
  held_ = true;
}

Tracee::~Tracee() {
  kill(child_, SIGKILL);
  int status = 0;
  waitpid(thread_, &status, __WALL);
  waitpid(child_, &status, 0);
}

bool Tracee::Ask(Command command) {
  shared_->command = command;
  ++shared_->asked;
  return true;
}

bool Tracee::DoneWithin(std::chrono::milliseconds time) const {
  const auto end = Clock::now() + time;
  while (shared_->done != shared_->asked && Clock::now() < end) Nap();
  return shared_->done == shared_->asked;
}

bool Tracee::Await() {
  const auto end = Clock::now() + std::chrono::minutes(1);
  while (shared_->done != shared_->asked) {
    if (Clock::now() > end) {
      kill(child_, SIGKILL);
      std::snprintf(shared_->message, sizeof(shared_->message), "hangs");
      return false;
    }
    int status = 0;
    if (!held_ && waitpid(thread_, &status, __WALL | WNOHANG) == thread_) {
      ptrace(PTRACE_CONT, thread_, nullptr,
             static_cast<long>(status >> 16 != 0 ? 0 : WSTOPSIG(status)));
    }
    Nap();
  }
  return shared_->ok;
}

// Waits for the thread to stop, or for its call to end. False: it ended, or the
// thread is gone.
bool Tracee::Stopped(int* status) const {
  const auto end = Clock::now() + std::chrono::seconds(60);
  while (Clock::now() < end) {
    const pid_t stopped = waitpid(thread_, status, __WALL | WNOHANG);
    if (stopped == thread_) return WIFSTOPPED(*status);
    if (stopped < 0 || shared_->calls_made == shared_->calls_wanted ||
        (shared_->in_handler && !shared_->leave)) {
      return false;
    }
    Nap();
  }
  return false;
}

// Continues with `signal`, passing on what signals come, until the pc is
// `until`, which does not come to pass when that is 0.
bool Tracee::Go(int signal, bool step, uintptr_t until) {
  constexpr int kMostSteps = 100'000;
  for (int i = 0; i < kMostSteps; ++i) {
    ptrace(step ? PTRACE_SINGLESTEP : PTRACE_CONT, thread_, nullptr,
           static_cast<long>(signal));
    int status = 0;
    if (!Stopped(&status)) return false;
    user_regs_struct registers;
    ptrace(PTRACE_GETREGS, thread_, nullptr, &registers);
    if (step ? registers.rip == until : registers.rip == until + 1) return true;
    signal = WSTOPSIG(status);
    if (step && signal == SIGTRAP) signal = 0;
    // A stop that is no signal's: of the thread's group, or our interrupt.
    if (status >> 16 != 0) signal = 0;
  }
  return false;
}

void Tracee::HoldInLoop() const {
  int status = 0;
  ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr);
  waitpid(thread_, &status, __WALL);
}

long Tracee::SetBreakpoint(uintptr_t pc) const {
  const long word = ptrace(PTRACE_PEEKTEXT, thread_, pc, nullptr);
  ptrace(PTRACE_POKETEXT, thread_, pc, (word & ~0xffl) | 0xcc);
  return word;
}

bool Tracee::HoldAt(uintptr_t pc, bool breakpoint) {
  ++shared_->calls_wanted;
  if (!breakpoint) return Go(0, /*step=*/true, pc);
  const long word = SetBreakpoint(pc);
  const bool there = Go(0, /*step=*/false, pc);
  if (!there) HoldInLoop();
  ptrace(PTRACE_POKETEXT, thread_, pc, word);
  if (there) {
    ptrace(PTRACE_POKEUSER, thread_, offsetof(user_regs_struct, rip), pc);
  }
  return there;
}

std::vector<uintptr_t> Tracee::PlacesOnTheWay(
    const std::vector<uintptr_t>& places) {
  std::vector<long> before;
  for (const uintptr_t pc : places) {
    before.push_back(ptrace(PTRACE_PEEKTEXT, thread_, pc, nullptr) & 0xff);
  }
  const auto put = [this](uintptr_t pc, long byte) {
    const long word = ptrace(PTRACE_PEEKTEXT, thread_, pc, nullptr);
    ptrace(PTRACE_POKETEXT, thread_, pc, (word & ~0xffl) | byte);
  };
  for (const uintptr_t pc : places) put(pc, 0xcc);
  std::vector<uintptr_t> passed;
  ++shared_->calls_wanted;
  for (;;) {
    ptrace(PTRACE_CONT, thread_, nullptr, 0);
    int status = 0;
    if (!Stopped(&status)) break;
    user_regs_struct registers;
    ptrace(PTRACE_GETREGS, thread_, nullptr, &registers);
    const auto place =
        std::lower_bound(places.begin(), places.end(), registers.rip - 1);
    if (place == places.end() || *place != registers.rip - 1) continue;
    passed.push_back(*place);
    put(*place, before[static_cast<size_t>(place - places.begin())]);
    ptrace(PTRACE_POKEUSER, thread_, offsetof(user_regs_struct, rip), *place);
  }
  HoldInLoop();
  for (size_t i = 0; i < places.size(); ++i) put(places[i], before[i]);
  return passed;
}

void Tracee::ParkInHandler() {
  shared_->in_handler = shared_->leave = false;
  Go(SIGUSR1, /*step=*/false, 0);
  held_ = false;
  // It runs on in the handler; signals that come are passed on by Finish.
  while (!shared_->in_handler) Nap();
}

long Tracee::Finish() {
  int status = 0;
  if (held_) {
    Go(0, /*step=*/false, 0);
  } else if (Stopped(&status)) {
    Go(WSTOPSIG(status), /*step=*/false, 0);
  }
  held_ = true;
  const bool ended = shared_->calls_made == shared_->calls_wanted;
  const long result = ended ? shared_->result.load() : -1;
  HoldInLoop();
  return result;
}

}  // namespace retprobe::test
