// SPDX-License-Identifier: Apache-2.0
//
// Children made in probed functions while other threads are in probed functions
// too: what they count is right, and they lose no instance.
#include <doctest/doctest.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "probe/registry.h"
#include "retprobe/return_probe.h"
#include "target.h"

extern char** environ;

namespace {

enum class Way { kFork, kRawFork, kSystemCall, kVfork, kSpawn, kClone };

constexpr int kGood = 42;  // exit status of a child that found all right

}  // namespace

TARGET long worker_inner(long x) {
  asm volatile("" : "+r"(x));
  return x + 1;
}

TARGET long worker_outer(long x) { return worker_inner(x) + 1; }

// `depth` frames; in the innermost, until told to leave.
TARGET long worker_waits(long depth, std::atomic<size_t>* inside,
                         const std::atomic<bool>* leave) {
  if (depth == 1) {
    ++*inside;
    while (!*leave) std::this_thread::yield();
    return 1;
  }
  const long below = worker_waits(depth - 1, inside, leave);
  asm volatile("");
  return below + 1;
}

namespace {

int RunInSharedMemory(void*) {
  // Calls probed functions, on the parent's thread area.
  alarm(30);
  for (long i = 0; i < 2000; ++i) {
    if (worker_outer(i) != i + 2) _exit(1);
  }
  _exit(kGood);
}

pid_t Clone() {
  alignas(16) static thread_local char stack[1 << 16];
  return clone(&RunInSharedMemory, stack + sizeof(stack),
               CLONE_VM | CLONE_VFORK | SIGCHLD, nullptr);
}

pid_t Spawn() {
  pid_t child = -1;
  const std::string command = "exit " + std::to_string(kGood);
  char name[] = "sh";
  char option[] = "-c";
  char* arguments[] = {name, option, const_cast<char*>(command.c_str()),
                       nullptr};
  return posix_spawn(&child, "/bin/sh", nullptr, nullptr, arguments, environ) ==
                 0
             ? child
             : -1;
}

}  // namespace

// Like fork(2): 0 in the child, which has a frame of this function to return
// from, where it has memory of its own.
TARGET pid_t make_child(Way way) {
  switch (way) {
    case Way::kFork:
      return fork();
    case Way::kRawFork:
      return _Fork();
    case Way::kSystemCall:
      return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    case Way::kVfork: {
      const pid_t child = vfork();
      if (child == 0) RunInSharedMemory(nullptr);
      return child;
    }
    case Way::kSpawn:
      return Spawn();
    case Way::kClone:
      return Clone();
  }
  return -1;
}

namespace retprobe {
namespace {

void* Address(auto* function) { return reinterpret_cast<void*>(function); }

size_t Out() { return Registry::Get().InstancesInUse(); }

struct Counted {
  std::atomic<long> entries{0};
  std::atomic<long> returns{0};

  absl::StatusOr<ReturnProbe> Attach(void* function) {
    ReturnProbeOptions options;
    options.entry_handler = [this](EntryContext&) noexcept {
      ++entries;
      return true;
    };
    options.return_handler = [this](ReturnContext&) noexcept { ++returns; };
    return ReturnProbe::Attach(function, std::move(options));
  }
};

struct Probed {
  Counted outer, inner, make;
  std::vector<ReturnProbe> probes;

  Probed() {
    const std::pair<Counted*, void*> wanted[] = {
        {&outer, Address(&worker_outer)},
        {&inner, Address(&worker_inner)},
        {&make, Address(&make_child)}};
    for (const auto& pair : wanted) {
      auto probe = pair.first->Attach(pair.second);
      REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
      probes.push_back(*std::move(probe));
    }
  }
};

// What a child with memory of its own finds; the number of the first thing that
// is wrong, or kGood.
int LookAround(Probed& probed, size_t threads, Way way) {
  alarm(30);  // ends one that waits for a thread which it does not have
  if (probed.make.entries != probed.make.returns) return 1;
  const size_t out = Out();
  // What other threads had under way stays theirs.
  if (out > 2 * threads) return 2;
  const long entries = probed.inner.entries;
  const long returns = probed.inner.returns;
  for (long i = 0; i < 1000; ++i) {
    if (worker_outer(i) != i + 2) return 3;
  }
  if (probed.inner.entries != entries + 1000) return 4;
  if (probed.inner.returns != returns + 1000) return 5;
  // Fewer: one whose taker was cut short before the last of two stores.
  if (Out() > out) return 6;
  for (const ReturnProbe& probe : probed.probes) {
    if (probe.nmissed().total() != 0) return 7;
  }
  if (way == Way::kFork) {
    probed.probes.clear();
    if (worker_outer(1) != 3) return 8;
    if (probed.inner.entries != entries + 1000) return 9;
  }
  return kGood;
}

void MakeChildren(Way way, size_t threads, int children) {
  CAPTURE(static_cast<int>(way));
  CAPTURE(threads);
  Probed probed;
  std::atomic<bool> stop{false};
  std::atomic<long> wrong{0};
  std::atomic<long> calls{0};
  std::vector<std::thread> workers;
  for (size_t t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      long i = 0;
      for (; !stop; ++i) wrong += worker_outer(i) != i + 2;
      calls += i;
    });
  }
  for (int i = 0; i < children; ++i) {
    const pid_t child = make_child(way);
    if (child == 0) _exit(LookAround(probed, threads, way));
    REQUIRE(child > 0);
    int status = -1;
    while (waitpid(child, &status, 0) < 0) {
    }
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == kGood);
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
  CHECK(wrong == 0);
  CHECK(probed.make.entries == children);
  CHECK(probed.make.returns == children);
  // Ours alone: calls of children that share our memory are not probed.
  CHECK(probed.inner.entries.load() == calls.load());
  CHECK(probed.inner.returns.load() == calls.load());
  CHECK(probed.outer.entries.load() == calls.load());
  CHECK(probed.outer.returns.load() == calls.load());
  CHECK(Out() == 0);
}

void WithThreads(Way way) {
  for (const size_t threads : {0, 1, 7}) MakeChildren(way, threads, 10);
}

TEST_CASE("a child of fork in a probed function") { WithThreads(Way::kFork); }

TEST_CASE("a child of _Fork, which runs no handlers of pthread_atfork") {
  WithThreads(Way::kRawFork);
}

TEST_CASE("a child of the bare system call") { WithThreads(Way::kSystemCall); }

TEST_CASE("a child of vfork that calls probed functions") {
  WithThreads(Way::kVfork);
}

TEST_CASE("a child of posix_spawn") { WithThreads(Way::kSpawn); }

TEST_CASE("a child of clone that shares our memory and our thread area") {
  WithThreads(Way::kClone);
}

struct Stack {
  char* low;
  size_t size;
};

Stack OwnStack() {
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  void* low = nullptr;
  size_t size = 0;
  pthread_attr_getstack(&attributes, &low, &size);
  pthread_attr_destroy(&attributes);
  return {static_cast<char*>(low), size};
}

// A child that runs beside us, in our memory and on our thread area. Whoever
// calls clone shall be probed again when it has gone; meanwhile neither is.
TEST_CASE("a child of clone that shares our memory and runs beside us") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Probed probed;
    std::atomic<long> wrong{0};
    std::atomic<long> probed_calls{0};
    const auto work = [&] {
      const auto stack = std::make_unique<char[]>(1 << 16);
      for (int round = 0; round < 20; ++round) {
        // Of no program's own, so that malloc and errno are not shared.
        const pid_t child = clone(&RunInSharedMemory, stack.get() + (1 << 16),
                                  CLONE_VM | SIGCHLD, nullptr);
        for (long i = 0; i < 2000; ++i) wrong += worker_outer(i) != i + 2;
        int status = -1;
        while (waitpid(child, &status, 0) < 0) {
        }
        wrong += WEXITSTATUS(status) != kGood;
        const long before = probed.inner.entries;
        for (long i = 0; i < 10; ++i) wrong += worker_outer(i) != i + 2;
        if (threads == 1) wrong += probed.inner.entries != before + 10;
        probed_calls += 10;
      }
    };
    std::vector<std::thread> workers;
    for (int i = 0; i < threads; ++i) workers.emplace_back(work);
    for (std::thread& worker : workers) worker.join();
    CHECK(wrong == 0);
    CHECK(probed.inner.entries.load() == probed.inner.returns.load());
    CHECK(probed.inner.entries >= probed_calls.load());
    CHECK(Out() == 0);
  }
}

// What no thread of ours is on any more can be given up by whoever knows whose
// stacks those were.
TEST_CASE("a child of fork gives up the stacks of threads it does not have") {
  for (const size_t threads : {1, 2, 8}) {
    CAPTURE(threads);
    Counted counted;
    auto probe = counted.Attach(Address(&worker_waits));
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
    std::vector<Stack> stacks(threads);
    std::atomic<size_t> inside{0};
    std::atomic<bool> leave{false};
    std::vector<std::thread> workers;
    for (size_t i = 0; i < threads; ++i) {
      workers.emplace_back([&, i] {
        stacks[i] = OwnStack();
        worker_waits(4, &inside, &leave);
      });
    }
    while (inside != threads) std::this_thread::yield();
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      if (Out() != 4 * threads) _exit(1);
      for (const Stack& stack : stacks) {
        if (AbandonFrames(stack.low, stack.low + stack.size) != 4) _exit(2);
      }
      if (Out() != 0) _exit(3);
      if (counted.entries != counted.returns) _exit(4);
      leave = true;
      if (worker_waits(4, &inside, &leave) != 4) _exit(5);
      _exit(Out() == 0 ? kGood : 6);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WEXITSTATUS(status) == kGood);
    leave = true;
    for (std::thread& worker : workers) worker.join();
    CHECK(counted.entries == counted.returns);
    CHECK(Out() == 0);
  }
}

}  // namespace
}  // namespace retprobe
