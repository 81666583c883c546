// SPDX-License-Identifier: Apache-2.0
//
// Hooked frames that are left by jumps, and children that share our memory, in
// a process without any probe.
#include <doctest/doctest.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "hooking.h"
#include "retprobe/return_probe.h"

// glibc declares it only to _FORTIFY_SOURCE.
extern "C" [[noreturn]] void __longjmp_chk(jmp_buf env, int value);

namespace {

using Leave = void (*)();
thread_local sigjmp_buf t_home;

}  // namespace

// `depth` hooked frames, then `leave`.
TARGET long hooked_leaver(long depth, Leave leave) {
  RETPROBE_TEST_ENTER();
  if (depth == 1) {
    leave();
    return 1;
  }
  const long below = hooked_leaver(depth - 1, leave);
  asm volatile("");
  return below + 1;
}

namespace retprobe {
namespace {

using test::ForStoragesAndThreads;
using test::Hooking;
using test::Storage;

const Leave kJumps[] = {
    [] { longjmp(t_home, 7); },
    [] { _longjmp(t_home, 7); },
    [] { siglongjmp(t_home, 7); },
    [] { __longjmp_chk(t_home, 7); },
};

__attribute__((noinline)) bool Leaves(long depth, Leave leave) {
  if (sigsetjmp(t_home, 1) == 7) return true;
  hooked_leaver(depth, leave);
  return false;
}

TEST_CASE("every longjmp ends the hooked activations that it leaves") {
  REQUIRE(ReturnProbe::List().empty());
  std::atomic<int> wrong{0};
  ForStoragesAndThreads([&](Hooking& hooking) {
    const long before = hooking.abandoned();
    for (const Leave leave : kJumps) {
      for (const long depth : {1L, 10L, 1000L}) wrong += !Leaves(depth, leave);
    }
    // Of a thousand a shadow stack has room for 64.
    wrong += hooking.abandoned() < before + 4 * (1 + 10 + 64);
  });
  CHECK(wrong == 0);
}

void RaiseIt() { raise(SIGUSR1); }

TEST_CASE("a jump out of a signal handler ends those of both stacks") {
  struct sigaction action = {};
  action.sa_handler = [](int) { hooked_leaver(5, kJumps[2]); };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  std::atomic<int> wrong{0};
  ForStoragesAndThreads([&](Hooking& hooking) {
    constexpr size_t kSize = 64 * 1024;
    const auto memory = std::make_unique<char[]>(kSize);
    const long before = hooking.abandoned();
    for (const bool other_stack : {false, true}) {
      stack_t stack = {memory.get(), other_stack ? 0 : SS_DISABLE, kSize};
      sigaltstack(&stack, nullptr);
      wrong += !Leaves(7, &RaiseIt);
    }
    wrong += hooking.abandoned() < before + 2 * (7 + 5);
    const stack_t none = {nullptr, SS_DISABLE, 0};
    sigaltstack(&none, nullptr);
  });
  CHECK(wrong == 0);
}

TEST_CASE("a hooked function's handler may be left, and its thread goes on") {
  for (const Storage storage : test::kStorages) {
    for (const int count : {1, 2, 8}) {
      CAPTURE(test::NameOf(storage));
      CAPTURE(count);
      std::atomic<long> handled{0};
      const auto rethook =
          test::Create({.return_handler =
                            [&handled](ReturnContext&) noexcept {
                              if (++handled % 2 != 0) siglongjmp(t_home, 7);
                            },
                        .maxactive = 30,
                        .storage = storage});
      const test::Listening listening(*rethook);
      test::g_entries = 0;
      std::vector<std::thread> threads;
      for (int i = 0; i < count; ++i) {
        threads.emplace_back([] {
          // Some return, some are left by a jump that then leaves the handler.
          for (int round = 0; round < 50; ++round) {
            Leaves(2, [] {});
            Leaves(2, kJumps[0]);
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      CHECK(handled == test::g_entries);
      CHECK(handled == 200 * count);
      CHECK(rethook->in_use() == 0);
      CHECK(rethook->nmissed().total() == 0);
      rethook->Stop();
    }
  }
}

TEST_CASE("children that share our memory are not hooked") {
  Hooking hooking(Storage::kPool);
  for (int i = 0; i < 20; ++i) {
    const long before = hooking.entries();
    // NOLINTNEXTLINE: it is what is tested
    const pid_t child = vfork();
    if (child == 0) _exit(static_cast<int>(hooked_leaver(3, [] {})));
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WEXITSTATUS(status) == 3);
    CHECK(hooking.entries() == before);
    CHECK(hooked_leaver(3, [] {}) == 3);
    CHECK(hooking.entries() == before + 3);
  }
}

TEST_CASE("nor is one that runs beside us, or its parent until it has gone") {
  Hooking hooking(Storage::kPool);
  const auto stack = std::make_unique<char[]>(1 << 16);
  for (int i = 0; i < 20; ++i) {
    const long before = hooking.entries();
    const pid_t child = clone(
        [](void*) {
          _exit(static_cast<int>(hooked_leaver(3, [] {})));
          return 0;
        },
        stack.get() + (1 << 16), CLONE_VM | SIGCHLD, nullptr);
    REQUIRE(child > 0);
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WEXITSTATUS(status) == 3);
    CHECK(hooking.entries() == before);
    CHECK(hooked_leaver(3, [] {}) == 3);
    CHECK(hooking.entries() == before + 3);
  }
}

}  // namespace
}  // namespace retprobe
