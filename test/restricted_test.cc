// SPDX-License-Identifier: Apache-2.0
//
// Processes that give up privileges or system calls, before the first probe or
// while some are live: attaching works or says why not; calls, counts and what
// Detach promises are right in either case.
#include <doctest/doctest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "probe/registry.h"
#include "retprobe/return_probe.h"
#include "target.h"

TARGET long restricted_first(long x) {
  asm volatile("" : "+r"(x));
  return x + 1;
}

TARGET long restricted_second(long x) {
  asm volatile("" : "+r"(x));
  return x + 2;
}

namespace retprobe {
namespace {

constexpr char kScenario[] = "RETPROBE_TEST_SCENARIO";

uint32_t Field(size_t offset) { return static_cast<uint32_t>(offset); }

// Every thread's system calls go through `filter`.
bool Install(std::vector<sock_filter> filter) {
  sock_fprog program = {static_cast<unsigned short>(filter.size()),
                        filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                 SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

bool Forbid(long call) {
  return Install({
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, Field(offsetof(seccomp_data, nr))),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  });
}

bool ForbidNewCode() {
  return Install({
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, Field(offsetof(seccomp_data, nr))),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
               Field(offsetof(seccomp_data, args) + 2 * sizeof(uint64_t))),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  });
}

bool Restrict(const std::string& what) {
  if (what == "membarrier") return Forbid(SYS_membarrier);
  if (what == "rseq") return Forbid(SYS_rseq);
  if (what == "new code") return ForbidNewCode();
  if (what.rfind("privileges", 0) == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) return false;
    return what == "privileges" || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
  }
  return false;
}

// One function with what its probe, if it has one, should have counted.
struct Watched {
  long (*function)(long);
  long added;
  std::atomic<long> calls{0};
  std::atomic<long> entries{0};
  std::atomic<long> returns{0};
  std::atomic<long> wrong{0};
  absl::StatusOr<ReturnProbe> probe = absl::UnknownError("not tried");

  void Attach() {
    ReturnProbeOptions options;
    options.entry_handler = [this](EntryContext&) noexcept {
      ++entries;
      return true;
    };
    options.return_handler = [this](ReturnContext&) noexcept { ++returns; };
    probe = ReturnProbe::Attach(reinterpret_cast<void*>(function),
                                std::move(options));
  }

  void Call(int count) {
    for (long i = 0; i < count; ++i) wrong += function(i) != i + added;
    calls += count;
  }

  // The number of a violation, 0 for none.
  int Check(long probed_calls) {
    if (wrong != 0) return 1;
    if (entries != returns) return 2;
    return entries == probed_calls ? 0 : 3;
  }
};

// Returns how often each was called.
int Call(Watched& first, Watched& second, int new_threads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < new_threads; ++t) {
    threads.emplace_back([&] {
      first.Call(1000);
      second.Call(1000);
    });
  }
  first.Call(1000);
  second.Call(1000);
  for (std::thread& thread : threads) thread.join();
  return 1000 * (1 + new_threads);
}

// A program that starts without rseq; glibc ends one that loses it later and
// then makes a thread.
void StartWithout(const std::string& what) {
  if (std::getenv("RETPROBE_TEST_FILTERED") != nullptr || !Restrict(what)) {
    return;
  }
  setenv("RETPROBE_TEST_FILTERED", "1", 1);
  execl("/proc/self/exe", "restricted_test", "--no-skip",
        "-tc=one restricted process", nullptr);
}

// What is wrong once all calls are made, and after Detach; 0: nothing.
int Judge(Watched& first, Watched& second, int calls) {
  int wrong = first.Check(first.probe.ok() ? calls + 1000 : 0);
  if (wrong != 0) return 20 + wrong;
  wrong = second.Check(second.probe.ok() ? calls : 0);
  if (wrong != 0) return 30 + wrong;
  if (Registry::Get().InstancesInUse() != 0) return 40;
  cpu_set_t cpus_before, cpus;
  sched_getaffinity(0, sizeof(cpus), &cpus_before);
  for (Watched* watched : {&first, &second}) {
    const long entries = watched->entries;
    watched->probe = absl::UnknownError("detached");
    watched->Call(1000);
    if (watched->wrong != 0 || watched->entries != entries) return 41;
  }
  sched_getaffinity(0, sizeof(cpus), &cpus);
  if (CPU_EQUAL(&cpus_before, &cpus) == 0) return 43;
  // Attaching and detaching again is no worse than the first time.
  for (int i = 0; i < 70; ++i) {
    second.Attach();
    second.Call(1);
    if (second.wrong != 0) return 42;
  }
  return 0;
}

// The whole life of one restricted process; its exit status.
int Live(const std::string& what, bool before) {
  alarm(50);
  if (what == "rseq" && before) StartWithout(what);
  Watched first{&restricted_first, 1};
  Watched second{&restricted_second, 2};
  if (!before) first.Attach();
  if (!before && !first.probe.ok()) return 10;
  std::atomic<bool> started{false};
  std::atomic<bool> stop{false};
  std::thread old([&] {  // from before the restriction
    started = true;
    while (!stop) sched_yield();
    first.Call(1000);
  });
  while (!started) sched_yield();
  const bool restricted = Restrict(what);
  if (!restricted) {
    stop = true;
    old.join();
    return 77;
  }
  if (before) first.Attach();
  second.Attach();
  std::printf("first: %s\nsecond: %s\n",
              first.probe.status().ToString().c_str(),
              second.probe.status().ToString().c_str());
  const int calls = Call(first, second, what == "rseq" && !before ? 0 : 2);
  stop = true;
  old.join();
  return Judge(first, second, calls);
}

struct Outcome {
  int status;
  std::string text;
};

// In a process of its own, which has no probe yet.
Outcome RunScenario(const std::string& scenario) {
  std::fflush(nullptr);
  char path[4096] = {};
  if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0) return {-1, ""};
  const std::string command = std::string(kScenario) + "='" + scenario + "' '" +
                              path + "' --no-skip -tc='one restricted process'";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome outcome;
  char buffer[1024];
  while (std::fgets(buffer, sizeof(buffer), pipe) != nullptr) {
    outcome.text += buffer;
  }
  const int status = pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

TEST_CASE("one restricted process" * doctest::skip()) {
  const char* scenario = std::getenv(kScenario);
  REQUIRE(scenario != nullptr);
  const std::string what = scenario;
  const bool before = what.rfind("before ", 0) == 0;
  const int status = Live(what.substr(what.find(' ') + 1), before);
  std::fflush(nullptr);
  _exit(status);
}

void Expect(const std::string& what, bool before, const std::string& said) {
  const Outcome outcome = RunScenario((before ? "before " : "after ") + what);
  CAPTURE(what);
  CAPTURE(before);
  CAPTURE(outcome.text);
  if (outcome.status == 77) {
    MESSAGE("skipped: this process may not restrict itself so");
    return;
  }
  CHECK(outcome.status == 0);
  CHECK(outcome.text.find(said) != std::string::npos);
}

TEST_CASE("seccomp that forbids membarrier") {
  Expect("membarrier", true, "membarrier");
  Expect("membarrier", false, "membarrier");
}

TEST_CASE("seccomp that forbids rseq") {
  Expect("rseq", true, "first: OK\nsecond: OK");
  Expect("rseq", false, "first: OK\nsecond: OK");
}

TEST_CASE("seccomp that forbids new code") {
  Expect("new code", true, "executable memory");
  Expect("new code", false, "first: OK");
}

TEST_CASE("privileges that are dropped") {
  Expect("privileges", true, "PR_SET_DUMPABLE");
  Expect("privileges", false, "PR_SET_DUMPABLE");
  Expect("privileges, still dumpable", true, "first: OK\nsecond: OK");
  Expect("privileges, still dumpable", false, "first: OK\nsecond: OK");
}

}  // namespace
}  // namespace retprobe
