// SPDX-License-Identifier: Apache-2.0
//
// Threads, processes and libraries that end while probed functions run.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "flow/flow.h"

FLOW_TARGET long leaf(long x) {
  FLOW_NO_TAIL_CALL;
  return x + 1;
}

FLOW_TARGET long waits(long x) {
  for (;;) pause();
  return x;
}

FLOW_TARGET long thrower(long x) {
  FLOW_NO_TAIL_CALL;
  if (x > 0) throw x;
  return x;
}

FLOW_TARGET long ends_process(void (*end)(int), long depth) {
  if (depth > 0) {
    const long below = ends_process(end, depth - 1);
    FLOW_NO_TAIL_CALL;
    return below + 1;
  }
  end(42);
  FLOW_NO_TAIL_CALL;
  return 0;
}

FLOW_TARGET long ends_thread(long depth) {
  if (depth > 0) {
    const long below = ends_thread(depth - 1);
    FLOW_NO_TAIL_CALL;
    return below + 1;
  }
  if (depth == 0) pthread_exit(nullptr);
  FLOW_NO_TAIL_CALL;
  return 0;
}

namespace {

using flow::Address;
using flow::Watch;

struct Expect {
  std::atomic<long> wrong{0};
  void operator()(bool right) { wrong += right ? 0 : 1; }
  ~Expect() { CHECK(wrong == 0); }
};

constexpr long kDepth = 5;

// What the child found out, for its parent.
struct Findings {
  std::atomic<int> handlers;  // exit handlers that ran
  std::atomic<int> wrong;
};
Findings* g_findings;
long g_inside;  // activations under way when the process ends

// Calls as ever, while frames of probed functions will never end.
void AtExit() {
  ++g_findings->handlers;
  const Watched before = watch_look();
  for (long i = 0; i < 100; ++i) {
    if (leaf(i) != i + 1) ++g_findings->wrong;
  }
  try {
    thrower(1);
    ++g_findings->wrong;
  } catch (const long&) {
  }
  const Watched after = watch_look();
  if (after.returned != before.returned + 100) ++g_findings->wrong;
  if (after.unwound != before.unwound + 1) ++g_findings->wrong;
  if (after.out != static_cast<size_t>(g_inside)) ++g_findings->wrong;
}

// The status of a child that ends by `end` inside probed functions, with
// `threads` - 1 other threads in others.
int EndProcess(void (*end)(int), int threads) {
  std::fflush(nullptr);  // which the child would do again
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    std::atexit(AtExit);
    std::at_quick_exit(AtExit);
    void* const functions[] = {Address(&leaf), Address(&waits),
                               Address(&thrower), Address(&ends_process)};
    watch_start(kWatchBoth, functions, 4);
    g_inside = threads - 1 + kDepth + 1;
    for (int i = 1; i < threads; ++i) std::thread(waits, i).detach();
    while (watch_look().entered < threads - 1) std::this_thread::yield();
    ends_process(end, kDepth);
    abort();
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST_CASE("a process ends inside probed functions") {
  g_findings = static_cast<Findings*>(mmap(nullptr, sizeof(Findings),
                                           PROT_READ | PROT_WRITE,
                                           MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  struct Way {
    const char* name;
    void (*end)(int);
    int handlers;
  };
  const Way ways[] = {{"exit", &std::exit, 1},
                      {"quick_exit", &std::quick_exit, 1},
                      {"_exit", &::_exit, 0}};
  for (const int threads : {1, 2, 8}) {
    for (const Way& way : ways) {
      CAPTURE(way.name);
      CAPTURE(threads);
      g_findings->handlers = g_findings->wrong = 0;
      const int status = EndProcess(way.end, threads);
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == 42);
      CHECK(g_findings->handlers == way.handlers);
      CHECK(g_findings->wrong == 0);
    }
  }
  munmap(g_findings, sizeof(Findings));
}

TEST_CASE("a thread ends inside probed functions, its destructors call more") {
  static std::atomic<long> destroyed;
  static pthread_key_t key;
  destroyed = 0;
  pthread_key_create(&key, [](void*) {
    for (long i = 0; i < 10; ++i) destroyed += leaf(i) == i + 1;
    try {
      thrower(1);
    } catch (const long&) {
      ++destroyed;
    }
  });
  constexpr int kRounds = 5;
  const auto in_thread = [](void*) -> void* {
    pthread_setspecific(key, &key);
    ends_thread(kDepth);
    return nullptr;
  };
  Watch(
      {Address(&leaf), Address(&thrower), Address(&ends_thread)}, kRounds,
      [&](int) {
        pthread_t thread;
        if (pthread_create(&thread, nullptr, in_thread, nullptr) == 0) {
          pthread_join(thread, nullptr);
        }
      },
      [](WatchKind kind, const Watched& ends, long times) {
        if (kind != kWatchBoth) return;
        CHECK(ends.returned == 10 * times);
        CHECK(ends.unwound == (kDepth + 1 + 1) * times);
      });
  CHECK(destroyed == 11 * kRounds * (1 + 2 + 8) * kWatchKinds);
  pthread_key_delete(key);
}

// library.h's, of a copy that was opened.
using Pass = long (*)(long (*)(long), long);
Pass Open(void** library) {
  *library = dlopen(FLOW_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  REQUIRE_MESSAGE(*library != nullptr, dlerror());
  return reinterpret_cast<Pass>(dlsym(*library, "library_pass"));
}

std::atomic<int> g_arrived;
std::atomic<bool> g_leave;

long Stay(long x) {
  ++g_arrived;
  while (!g_leave) std::this_thread::yield();
  return x;
}

TEST_CASE("a library is closed by one of its users while threads are in it") {
  for (const int threads : {1, 2, 8}) {
    for (int round = 0; round < 3; ++round) {
      CAPTURE(threads);
      Expect expect;
      void* mine;
      void* theirs;
      const Pass pass = Open(&mine);
      Open(&theirs);
      void* const functions[] = {Address(pass)};
      watch_start(kWatchBoth, functions, 1);
      g_arrived = 0;
      g_leave = false;
      std::vector<std::thread> inside;
      for (int i = 0; i < threads; ++i) {
        inside.emplace_back([&] { expect(pass(&Stay, 7) == 8); });
      }
      while (g_arrived < threads) std::this_thread::yield();
      dlclose(mine);
      // Off, while they are inside; their activations end unseen.
      const Watched during = watch_stop();
      CHECK(during.out == static_cast<size_t>(threads));
      g_leave = true;
      for (std::thread& thread : inside) thread.join();
      CHECK(watch_look().out == 0);
      dlclose(theirs);
    }
  }
}

TEST_CASE("a library comes back after it went with a probe on it") {
  for (int round = 0; round < 5; ++round) {
    void* library;
    Pass pass = Open(&library);
    void* const before[] = {Address(pass)};
    watch_start(kWatchBoth, before, 1);
    CHECK(pass(&leaf, 1) == 3);
    dlclose(library);
    if (round % 2 == 0) watch_stop();
    pass = Open(&library);
    CHECK(pass(&leaf, 2) == 4);
    if (round % 2 == 1) watch_stop();
    void* const after[] = {Address(pass)};
    watch_start(kWatchBoth, after, 1);
    CHECK(pass(&leaf, 3) == 5);
    const Watched ends = watch_stop();
    flow::CheckEnds(kWatchBoth, ends);
    CHECK(ends.returned == 1);
    dlclose(library);
  }
}

}  // namespace
