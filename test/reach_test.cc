// SPDX-License-Identifier: Apache-2.0
// Probes on what a jump does not fit, and on what has no return to see.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "patch/entries.h"
#include "probe/registry.h"
#include "retprobe/return_probe.h"

namespace retprobe {
namespace {

size_t Out() { return Registry::Get().InstancesInUse(); }

struct Counts {
  std::atomic<int> entries{0};
  std::atomic<int> returned{0};
  std::atomic<int> unwound{0};

  ReturnProbeOptions Options() {
    ReturnProbeOptions options;
    options.entry_handler = [this](EntryContext&) noexcept {
      ++entries;
      return true;
    };
    options.return_handler = [this](ReturnContext& context) noexcept {
      ++(context.reason() == EndReason::kReturned ? returned : unwound);
    };
    return options;
  }
};

absl::StatusOr<ReturnProbe> Attach(auto* function, Counts& counts) {
  return ReturnProbe::Attach(reinterpret_cast<void*>(function),
                             counts.Options());
}

template <typename Work>
void OnThreads(int threads, Work work) {
  std::vector<std::thread> others;
  for (int i = 0; i < threads; ++i) others.emplace_back(work);
  for (std::thread& other : others) other.join();
}

// The status of a child that has done `work` and was not killed.
template <typename Work>
int StatusOfChild(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(work() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST_CASE("threads call a function that is probed by int3") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Counts counts;
    auto probe = Attach(&entry_tight, counts);
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
    CHECK(probe->uses_trap());
    CHECK(!probe->entry_only());
    std::atomic<int> wrong{0};
    OnThreads(threads, [&] {
      for (long i = 0; i < 2000; ++i) wrong += entry_tight(i, 5) != i + 5;
    });
    CHECK(wrong == 0);
    CHECK(counts.entries == threads * 2000);
    CHECK(counts.returned == counts.entries);
    CHECK(probe->nmissed().total() == 0);
    CHECK(Out() == 0);
  }
  CHECK(entry_tight(1, 2) == 3);
}

// Calls itself through the probed entry until `left` is used up, and then
// throws if it shall.
thread_local int left;
thread_local bool throws;
long Recur(long) {
  if (left-- > 0) return entry_early_call(&entry_callee_pointer, 0) + 1;
  if (throws) throw std::runtime_error("through");
  return 0;
}

TEST_CASE("a function that is probed by int3 nests, and is thrown through") {
  entry_hook = Recur;
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Counts counts;
    auto probe = Attach(&entry_early_call, counts);
    REQUIRE(probe.ok());
    CHECK(probe->uses_trap());
    std::atomic<int> caught{0};
    OnThreads(threads, [&] {
      for (int i = 0; i < 20; ++i) {
        left = 9;
        throws = i % 2 != 0;
        try {
          entry_early_call(&entry_callee_pointer, 0);
        } catch (const std::runtime_error&) {
          ++caught;
        }
      }
    });
    CHECK(caught == threads * 10);
    CHECK(counts.entries == threads * 200);
    CHECK(counts.returned == threads * 100);
    CHECK(counts.unwound == threads * 100);
    CHECK(Out() == 0);
  }
  entry_hook = nullptr;
}

std::atomic<int> wrong_in_handler;

TEST_CASE("signal handlers call what they interrupt, by int3") {
  struct sigaction action = {};
  action.sa_handler = [](int) { wrong_in_handler += entry_tight(3, 4) != 7; };
  sigfillset(&action.sa_mask);  // SIGTRAP too: before the first int3
  sigaction(SIGUSR1, &action, nullptr);
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Counts counts;
    auto probe = Attach(&entry_tight, counts);
    REQUIRE(probe.ok());
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, nullptr);  // and behind it
    std::atomic<int> wrong{0};
    OnThreads(threads, [&] {
      const pthread_t self = pthread_self();
      std::atomic<bool> stop{false};
      std::thread sender([&] {
        while (!stop) pthread_kill(self, SIGUSR1);
      });
      for (long i = 0; i < 300; ++i) wrong += entry_tight(i, 5) != i + 5;
      stop = true;
      sender.join();
    });
    CHECK(wrong == 0);
    CHECK(wrong_in_handler == 0);
    CHECK(counts.entries >= threads * 300);
    CHECK(counts.returned == counts.entries);
    CHECK(Out() == 0);
  }
  signal(SIGUSR1, SIG_DFL);
}

TEST_CASE("int3 probes come and go while threads call") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < threads; ++i) {
      callers.emplace_back([&] {
        while (!stop) {
          wrong += entry_tight(1, 2) != 3;
          wrong += entry_retry(7, 2) != 5;
          wrong += entry_far_branch_source(1, 2) != 5;
        }
      });
    }
    for (int i = 0; i < 30; ++i) {
      Counts counts[3];
      std::vector<ReturnProbe::Request> requests;
      requests.push_back(
          {reinterpret_cast<void*>(entry_tight), counts[0].Options()});
      requests.push_back(
          {reinterpret_cast<void*>(entry_retry), counts[1].Options()});
      requests.push_back({reinterpret_cast<void*>(entry_far_branch_target),
                          counts[2].Options()});
      auto probes = ReturnProbe::AttachAll(absl::MakeSpan(requests));
      for (auto& probe : probes) {
        // A paused thread may not answer in time.
        CHECK((probe.ok() || absl::IsUnavailable(probe.status())));
      }
      probes.clear();
      // What is under way when Detach comes ends without its handler.
      CHECK(counts[0].returned <= counts[0].entries);
      CHECK(counts[0].entries - counts[0].returned <= threads);
      CHECK(counts[2].entries == 0);  // nobody calls it: its tail is shared
    }
    stop = true;
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0);
    CHECK(Out() == 0);
  }
}

int program_traps;
void CountTrap(int) { ++program_traps; }

TEST_CASE("a program's own SIGTRAP handler and an int3 live together") {
  struct sigaction before;
  sigaction(SIGTRAP, nullptr, &before);
  Counts counts;
  auto probe = Attach(&entry_tight, counts);
  REQUIRE(probe.ok());
  struct sigaction action = {};
  action.sa_handler = CountTrap;
  action.sa_flags = SA_NODEFER;
  struct sigaction old;
  CHECK(sigaction(SIGTRAP, &action, &old) == 0);
  CHECK((old.sa_handler == before.sa_handler));
  CHECK(entry_tight(1, 2) == 3);
  program_traps = 0;
  raise(SIGTRAP);
  asm volatile("int3");
  CHECK(program_traps == 2);
  CHECK(sigaction(SIGTRAP, nullptr, &old) == 0);
  CHECK((old.sa_handler == CountTrap));
  CHECK((old.sa_flags & SA_NODEFER) != 0);
  CHECK((signal(SIGTRAP, SIG_DFL) == CountTrap));
  CHECK(entry_tight(1, 2) == 3);
  CHECK(counts.entries == 2);
  CHECK(counts.returned == 2);
  // What is not ours ends the process, as it did.
  const int status = StatusOfChild([] {
    asm volatile("int3");
    return true;
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTRAP);
  sigaction(SIGTRAP, &before, nullptr);
}

TEST_CASE("who blocks every signal can still run into an int3") {
  Counts counts;
  auto probe = Attach(&entry_tight, counts);
  REQUIRE(probe.ok());
  for (const int threads : {1, 2, 8}) {
    OnThreads(threads, [] {
      sigset_t all, old, now;
      sigfillset(&all);
      CHECK(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
      CHECK(sigismember(&old, SIGTRAP) == 0);
      CHECK(entry_tight(1, 2) == 3);
      CHECK(sigprocmask(SIG_BLOCK, nullptr, &now) == 0);
      CHECK(sigismember(&now, SIGTRAP) == 1);
      CHECK(sigismember(&now, SIGUSR2) == 1);
      CHECK(pthread_sigmask(SIG_SETMASK, &old, &now) == 0);
      CHECK(sigismember(&now, SIGTRAP) == 1);
      CHECK(sigprocmask(SIG_BLOCK, nullptr, &now) == 0);
      CHECK(sigismember(&now, SIGTRAP) == 0);
    });
  }
  CHECK(counts.entries == 11);
  CHECK(counts.returned == 11);
  CHECK(Out() == 0);
}

TEST_CASE("an int3 is refused while its SIGTRAP is blocked") {
  const int status = StatusOfChild([] {
    const unsigned long trap = 1ul << (SIGTRAP - 1);
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &trap, nullptr, 8);
    Counts counts;
    return absl::IsUnavailable(Attach(&entry_tight, counts).status()) &&
           Attach(&entry_push, counts).ok() && entry_tight(1, 2) == 3;
  });
  CHECK(status == 0);
}

TEST_CASE("a child inherits int3 probes") {
  Counts counts;
  auto probe = Attach(&entry_tight, counts);
  REQUIRE(probe.ok());
  CHECK(StatusOfChild([&] {
          return entry_tight(1, 2) == 3 && counts.entries == 1 && Out() == 0;
        }) == 0);
  CHECK(counts.entries == 0);
}

// Probes `symbol` and runs `work`; how often it was entered, or -1.
template <typename Work>
int Entered(const char* symbol, Work work) {
  Counts counts;
  auto probe = ReturnProbe::Attach(symbol, counts.Options());
  CHECK_MESSAGE(probe.ok(), probe.status().ToString());
  if (!probe.ok()) return -1;
  CHECK(probe->entry_only());
  for (const int threads : {1, 2, 8}) OnThreads(threads, work);
  CHECK(counts.returned == 0);
  CHECK(counts.unwound == 0);
  CHECK(probe->nmissed().total() == 0);
  return counts.entries;
}

jmp_buf* Environment() {
  static thread_local jmp_buf environment;
  return &environment;
}

TEST_CASE("setjmp and longjmp can be probed at their entry") {
  const auto round_trip = [] {
    volatile int rounds = 0;
    if (_setjmp(*Environment()) < 3) {
      rounds = rounds + 1;
      longjmp(*Environment(), rounds);
    }
    CHECK(rounds == 3);
  };
  CHECK(Entered("libc.so.6:_setjmp", round_trip) >= 11);  // and new threads
  CHECK(Entered("libc.so.6:longjmp", round_trip) == 33);
  CHECK(Out() == 0);
}

TEST_CASE("what throws and unwinds can be probed at its entry") {
  const auto round_trip = [] {
    try {
      throw std::runtime_error("caught");
    } catch (const std::runtime_error& error) {
      CHECK(error.what() == std::string("caught"));
    }
  };
  CHECK(Entered("libstdc++.so.6:__cxa_throw", round_trip) == 11);
  CHECK(Entered("libgcc_s.so.1:_Unwind_RaiseException", round_trip) == 11);
  CHECK(Out() == 0);
}

TEST_CASE("who asks for its caller is still told") {
  void* const expected = dlsym(RTLD_NEXT, "strtol");
  CHECK(Entered("libc.so.6:dlsym", [expected] {
          CHECK(dlsym(RTLD_NEXT, "strtol") == expected);
        }) == 11);
}

TEST_CASE("contexts can be switched by a probed swapcontext") {
  CHECK(Entered("libc.so.6:swapcontext", [] {
          static thread_local ucontext_t main, other;
          static thread_local int reached;
          std::vector<char> stack(64 << 10);
          reached = 0;
          getcontext(&other);
          other.uc_stack.ss_sp = stack.data();
          other.uc_stack.ss_size = stack.size();
          other.uc_link = &main;
          makecontext(
              &other, [] { ++reached; }, 0);
          swapcontext(&main, &other);
          CHECK(reached == 1);
        }) == 11);
  CHECK(Out() == 0);
}

TEST_CASE("exit can be probed at its entry, in vain by a return handler") {
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {};
  const auto refused =
      ReturnProbe::Attach("libc.so.6:exit", std::move(options));
  CHECK(refused.status().code() == absl::StatusCode::kFailedPrecondition);
  const int status = StatusOfChild([] {
    ReturnProbeOptions at_entry;
    at_entry.maxactive = 1;
    at_entry.entry_handler = [](EntryContext& context) noexcept {
      context.set_argument(0, context.argument(0) + 40);
      return true;
    };
    auto probe = ReturnProbe::Attach("libc.so.6:exit", std::move(at_entry));
    if (probe.ok()) std::exit(2);
    return false;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 42);
}

TEST_CASE("memmove is probed by a jump, and mempcpy shares its tail") {
  void* const memmove_code = dlsym(RTLD_DEFAULT, "memmove");
  Counts counts;
  auto probe = ReturnProbe::Attach(memmove_code, counts.Options());
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  CHECK(!probe->uses_trap());
  const auto move = reinterpret_cast<decltype(&std::memmove)>(memmove_code);
  const auto copy =
      reinterpret_cast<decltype(&mempcpy)>(dlsym(RTLD_DEFAULT, "mempcpy"));
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    std::atomic<int> wrong{0};
    // Doctest's checks copy too: none in between.
    const int before = counts.entries;
    OnThreads(threads, [&] {
      char from[300], to[300];
      for (size_t size = 0; size < sizeof(from); ++size) {
        from[size] = static_cast<char>(size);
        to[size] = 0;
        wrong += copy(to, from, size) != to + size;
        for (size_t i = 0; i < size; ++i) wrong += to[i] != from[i];
      }
    });
    const int between = counts.entries;
    OnThreads(threads, [&] {
      char from[300] = {}, to[300];
      for (size_t size = 0; size < 100; ++size) move(to, from, size);
    });
    CHECK(counts.entries >= between + threads * 100);
    CHECK(between - before < threads * 300);  // others' calls, not mempcpy's
    CHECK(wrong == 0);
    CHECK(Out() == 0);
  }
  CHECK(counts.returned == counts.entries);
}

}  // namespace
}  // namespace retprobe
