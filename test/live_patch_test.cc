// SPDX-License-Identifier: Apache-2.0
#include "patch/live_patch.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "patch/detour_site.h"
#include "patch/entries.h"
#include "patch/thread_mover.h"

extern "C" long entry_scan_string(const char* begin, const char* end, long,
                                  long count);

namespace retprobe {
namespace {

using Clock = std::chrono::steady_clock;
using Entry = long (*)(long, long);

struct Target {
  Entry function;
  long expected;
};
const Target kTargets[] = {
    {entry_patchable, 3 * 40 + 2}, {entry_push, 49}, {entry_endbr, 51},
    {entry_short_condition, 140},  {entry_nops, 62}, {entry_call, 86},
    {entry_two_conditions, 3},     {entry_loop, 99}, {entry_load_rip, 1080},
    {entry_mixed_nops, 63},        {entry_nop3, 64},
};

// Hammers the targets until told to stop; returns whether every result was
// right.
bool Hammer(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) {
    for (const Target& target : kTargets) {
      if (target.function(40, 2) != target.expected) return false;
    }
  }
  return true;
}

// Arms and disarms all targets `cycles` times while `threads` call them, but
// for no more than 8 s. Returns null, or what went wrong.
const char* Stress(int cycles, int threads, int* done = nullptr) {
  const auto end = Clock::now() + std::chrono::seconds(8);
  std::vector<Detour> detours;
  std::vector<EntryPatch*> patches;
  for (const Target& target : kTargets) {
    detours.push_back(*PrepareDetour(reinterpret_cast<void*>(target.function)));
    patches.push_back(detours.back().patch);
  }
  std::atomic<bool> stop{false};
  std::atomic<bool> right{true};
  std::vector<std::thread> hammers;
  for (int i = 0; i < threads; ++i) {
    hammers.emplace_back([&] {
      if (!Hammer(stop)) right = false;
    });
  }
  const char* failed = nullptr;
  int cycle = 0;
  for (; cycle < cycles && failed == nullptr && Clock::now() < end; ++cycle) {
    if (!ArmEntryPatches(patches).ok()) failed = "arm";
    if (!DisarmEntryPatches(patches).ok()) failed = "disarm";
  }
  if (done != nullptr) *done = cycle;
  stop = true;
  for (std::thread& hammer : hammers) hammer.join();
  for (const Detour& detour : detours) {
    if (detour.count() == 0) failed = "an entry was never taken";
  }
  return right ? failed : "a wrong result";
}

TEST_CASE("threads that call on see right results through hundreds of cycles") {
  for (const bool punning : {true, false}) {
    live_patch_faults.no_punning = !punning;
    int cycles = 0;
    const auto begin = Clock::now();
    const char* const failed = Stress(punning ? 800 : 60, 4, &cycles);
    live_patch_faults.no_punning = false;
    const std::chrono::duration<double> seconds = Clock::now() - begin;
    CHECK_MESSAGE(failed == nullptr, failed);
    CHECK(cycles > 20);
    MESSAGE(cycles << " cycles in " << seconds.count() << " s");
  }
}

// Runs `work`, which returns whether it saw right results, in a child. Returns
// what became of it: "right", "wrong", or the signal that killed it.
template <typename Work>
std::string InChild(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    // The test runner's handlers would report the crash at length.
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGFPE}) {
      ::signal(signal, SIG_DFL);
    }
    alarm(10);
    _exit(work() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return strsignal(WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "right" : "wrong";
}

TEST_CASE("without the int3 the same stress fails") {
  const std::string end = InChild([] {
    live_patch_faults.no_breakpoint = true;
    const char* const failed = Stress(800, 4);
    return failed == nullptr;
  });
  MESSAGE(end);
  CHECK(end != "right");
  CHECK(end != strsignal(SIGALRM));
}

// Calls entry_scan_string over 1 GiB of nothing: the thread's pc stays at +1,
// behind the push, for about a second.
constexpr size_t kScanned = size_t{1} << 30;
char* Nothing() {
  static char* const nothing = static_cast<char*>(
      mmap(nullptr, kScanned, PROT_READ,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return nothing;
}

// For the tests of the tests: nobody knows where a thread was inside a jump.
bool lose_traps = false;

// `function` with a jump that has an int3 where instructions began inside it,
// or with one that has not, so that threads must be moved out.
Detour Prepare(const void* function, bool trapping) {
  live_patch_faults.no_punning = !trapping;
  const Detour detour = *PrepareDetour(function);
  live_patch_faults.no_punning = false;
  REQUIRE(detour.patch->TrapsAt(1) == trapping);
  if (lose_traps) detour.patch->moved[1] = 0;
  return detour;
}

// Scans once to the end in another thread while the entry is armed; returns
// whether the result is right.
bool ScanWhileArming(bool trapping, bool* while_scanning) {
  const Detour detour =
      Prepare(reinterpret_cast<void*>(entry_scan_string), trapping);
  std::atomic<long> result{-1};
  std::thread scanner(
      [&] { result = entry_scan_string(nullptr, Nothing(), 0, kScanned); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const bool armed = ArmEntryPatches({&detour.patch, 1}).ok();
  *while_scanning = result == -1;
  scanner.join();
  const bool right = armed && result == 0 && detour.count() == 0 &&
                     entry_scan_string(nullptr, Nothing(), 0, 1) == 0 &&
                     detour.count() == 1;
  return DisarmEntryPatches({&detour.patch, 1}).ok() && right;
}

TEST_CASE("a thread that runs between displaced instructions goes on right") {
  for (const bool trapping : {true, false}) {
    CAPTURE(trapping);
    bool while_scanning = false;
    CHECK(ScanWhileArming(trapping, &while_scanning));
    CHECK(while_scanning);
  }
}

// What a thread does that goes on in the middle of a jump depends on the bytes
// of its distance: it crashes, computes nonsense, or never comes back.
TEST_CASE("a thread left between displaced instructions fails") {
  for (const bool trapping : {true, false}) {
    const std::string end = InChild([trapping] {
      live_patch_faults.no_moving = true;
      lose_traps = true;
      bool while_scanning;
      return ScanWhileArming(trapping, &while_scanning);
    });
    MESSAGE(end);
    CHECK(end != "right");
  }
}

// A thread whose load at +1 of entry_read faults, and whose handler waits, so
// that a context between displaced instructions lies on its stack.
long* guarded;
std::atomic<bool> in_handler;
std::atomic<bool> release;
std::atomic<bool> block_in_read;
std::atomic<bool> block_signals;
int release_pipe[2];

void WaitInHandler(int, siginfo_t*, void*) {
  sigset_t all;
  sigfillset(&all);
  if (block_signals) pthread_sigmask(SIG_SETMASK, &all, nullptr);
  in_handler = true;
  if (block_in_read) {
    char byte;
    while (read(release_pipe[0], &byte, 1) < 0) {
    }
  }
  while (!release) {
  }
  mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

struct Parked {
  long result = 0;
  absl::Status armed;
  double seconds = 0;
  uint64_t count = 0;
};

// With `alternate` the handler runs on a stack of its own.
Parked ArmWhileParked(bool alternate, bool trapping) {
  Parked parked;
  guarded = static_cast<long*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  *guarded = 70;
  mprotect(guarded, 4096, PROT_NONE);
  in_handler = release = false;
  REQUIRE(pipe(release_pipe) == 0);
  struct sigaction fault = {};
  struct sigaction before;
  fault.sa_sigaction = WaitInHandler;
  fault.sa_flags = SA_SIGINFO | SA_RESETHAND | (alternate ? SA_ONSTACK : 0);
  sigaction(SIGSEGV, &fault, &before);
  const Detour detour = Prepare(reinterpret_cast<void*>(entry_read), trapping);
  std::thread thread([&] {
    std::vector<char> stack(64 * 1024);
    stack_t other = {};
    other.ss_sp = stack.data();
    other.ss_size = stack.size();
    if (alternate) sigaltstack(&other, nullptr);
    parked.result = entry_read(guarded, 5);
    other.ss_flags = SS_DISABLE;
    sigaltstack(&other, nullptr);
  });
  while (!in_handler) {
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto begin = Clock::now();
  parked.armed = ArmEntryPatches({&detour.patch, 1});
  parked.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  release = true;
  REQUIRE(write(release_pipe[1], "x", 1) == 1);
  thread.join();
  parked.count = detour.count();
  REQUIRE(DisarmEntryPatches({&detour.patch, 1}).ok());
  sigaction(SIGSEGV, &before, nullptr);
  munmap(guarded, 4096);
  close(release_pipe[0]);
  close(release_pipe[1]);
  return parked;
}

TEST_CASE("a context that a handler interrupted goes on right") {
  block_signals = false;
  for (const int how : {0, 1, 2, 3, 4, 5, 6, 7}) {
    const bool trapping = how & 1;
    const bool alternate = how & 2;
    CAPTURE(trapping);
    CAPTURE(alternate);
    block_in_read = how & 4;
    CAPTURE(block_in_read.load());
    const Parked parked = ArmWhileParked(alternate, trapping);
    CHECK_MESSAGE(parked.armed.ok(), parked.armed.ToString());
    CHECK(parked.result == 75);
    CHECK(parked.count == 0);
  }
}

// An int3 would kill it while it runs; where it sleeps, it traps once its
// handler has returned, and only a jump without int3 must wait.
TEST_CASE("a parked thread that blocks all signals ends the attempt in time") {
  block_signals = true;
  for (const int how : {0, 1, 2, 3}) {
    const bool trapping = how & 1;
    block_in_read = how & 2;
    CAPTURE(trapping);
    CAPTURE(block_in_read.load());
    thread_patience.stuck = std::chrono::milliseconds(200);
    const Parked parked = ArmWhileParked(false, trapping);
    thread_patience = {};
    CHECK(parked.result == 75);
    CHECK(parked.armed.ok() == (trapping && block_in_read));
    if (parked.armed.ok()) continue;
    CHECK(parked.armed.code() == absl::StatusCode::kUnavailable);
    MESSAGE(parked.armed.ToString());
  }
  block_signals = false;
}

TEST_CASE("left alone, a parked context fails") {
  for (const bool trapping : {true, false}) {
    const std::string end = InChild([trapping] {
      live_patch_faults.no_moving = true;
      lose_traps = true;
      block_in_read = block_signals = false;
      const Parked parked = ArmWhileParked(false, trapping);
      return parked.armed.ok() && parked.result == 75;
    });
    MESSAGE(end);
    CHECK(end != "right");
  }
}

}  // namespace
}  // namespace retprobe
