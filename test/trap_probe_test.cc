// SPDX-License-Identifier: Apache-2.0
// Probes on entries that a jump does not fit, or only with other branches led
// elsewhere.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ends.h"
#include "patch/entries.h"
#include "status_of_child.h"

namespace retprobe {
namespace {

TEST_CASE("threads call a function that is probed by int3") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    const ReturnProbe probe = Attached(&entry_tight, ends.Options());
    CHECK(probe.uses_trap());
    CHECK(!probe.entry_only());
    std::atomic<int> wrong{0};
    InNewThreads(threads, [&] {
      for (long i = 0; i < 2000; ++i) wrong += entry_tight(i, 5) != i + 5;
    });
    CHECK(wrong == 0);
    CHECK(ends.entered == threads * 2000);
    CHECK(ends.returned == ends.entered);
    CHECK(probe.nmissed().total() == 0);
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
    Ends ends;
    const ReturnProbe probe = Attached(&entry_early_call, ends.Options());
    CHECK(probe.uses_trap());
    std::atomic<int> caught{0};
    InNewThreads(threads, [&] {
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
    CHECK(ends.entered == threads * 200);
    CHECK(ends.returned == threads * 100);
    CHECK(ends.unwound == threads * 100);
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
    Ends ends;
    const ReturnProbe probe = Attached(&entry_tight, ends.Options());
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, nullptr);  // and behind it
    std::atomic<int> wrong{0};
    InNewThreads(threads, [&] {
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
    CHECK(ends.entered >= threads * 300);
    CHECK(ends.returned == ends.entered);
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
      Ends ends[3];
      std::vector<ReturnProbe::Request> requests;
      requests.push_back(
          {reinterpret_cast<void*>(entry_tight), ends[0].Options()});
      requests.push_back(
          {reinterpret_cast<void*>(entry_retry), ends[1].Options()});
      requests.push_back({reinterpret_cast<void*>(entry_far_branch_target),
                          ends[2].Options()});
      auto probes = ReturnProbe::AttachAll(absl::MakeSpan(requests));
      for (auto& probe : probes) {
        // A paused thread may not answer in time.
        CHECK((probe.ok() || absl::IsUnavailable(probe.status())));
      }
      probes.clear();
      // What is under way when Detach comes ends without its handler.
      CHECK(ends[0].returned <= ends[0].entered);
      CHECK(ends[0].entered - ends[0].returned <= threads);
      CHECK(ends[2].entered == 0);  // nobody calls it: its tail is shared
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
  Ends ends;
  const ReturnProbe probe = Attached(&entry_tight, ends.Options());
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
  CHECK(ends.entered == 2);
  CHECK(ends.returned == 2);
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
  Ends ends;
  const ReturnProbe probe = Attached(&entry_tight, ends.Options());
  for (const int threads : {1, 2, 8}) {
    InNewThreads(threads, [] {
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
  CHECK(ends.entered == 11);
  CHECK(ends.returned == 11);
  CHECK(Out() == 0);
}

TEST_CASE("an int3 is refused while its SIGTRAP is blocked") {
  const int status = StatusOfChild([] {
    const unsigned long trap = 1ul << (SIGTRAP - 1);
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &trap, nullptr, 8);
    Ends ends;
    const auto attach = [&](auto* function) {
      return ReturnProbe::Attach(reinterpret_cast<void*>(function),
                                 ends.Options())
          .status();
    };
    return absl::IsUnavailable(attach(&entry_tight)) &&
           attach(&entry_push).ok() && entry_tight(1, 2) == 3;
  });
  CHECK(status == 0);
}

TEST_CASE("a child inherits int3 probes") {
  Ends ends;
  const ReturnProbe probe = Attached(&entry_tight, ends.Options());
  CHECK(StatusOfChild([&] {
          return entry_tight(1, 2) == 3 && ends.entered == 1 && Out() == 0;
        }) == 0);
  CHECK(ends.entered == 0);
}

TEST_CASE("memmove is probed by a jump, and mempcpy shares its tail") {
  void* const memmove_code = dlsym(RTLD_DEFAULT, "memmove");
  Ends ends;
  auto probe = ReturnProbe::Attach(memmove_code, ends.Options());
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  CHECK(!probe->uses_trap());
  const auto move = reinterpret_cast<decltype(&std::memmove)>(memmove_code);
  const auto copy =
      reinterpret_cast<decltype(&mempcpy)>(dlsym(RTLD_DEFAULT, "mempcpy"));
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    std::atomic<int> wrong{0};
    // Doctest's checks copy too: none in between.
    const long before = ends.entered;
    InNewThreads(threads, [&] {
      char from[300], to[300];
      for (size_t size = 0; size < sizeof(from); ++size) {
        from[size] = static_cast<char>(size);
        to[size] = 0;
        wrong += copy(to, from, size) != to + size;
        for (size_t i = 0; i < size; ++i) wrong += to[i] != from[i];
      }
    });
    const long between = ends.entered;
    InNewThreads(threads, [&] {
      char from[300] = {}, to[300];
      for (size_t size = 0; size < 100; ++size) move(to, from, size);
    });
    CHECK(ends.entered >= between + threads * 100);
    CHECK(between - before < threads * 300);  // others' calls, not mempcpy's
    CHECK(wrong == 0);
    CHECK(Out() == 0);
  }
  CHECK(ends.returned == ends.entered);
}

}  // namespace
}  // namespace retprobe
