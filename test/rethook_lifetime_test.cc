// SPDX-License-Identifier: Apache-2.0
//
// The ends of Rethooks and threads with activations out; part of rethook_test.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "hooking.h"
#include "rethook/slots.h"
#include "retprobe/return_probe.h"

TARGET long leaf(long x);

namespace retprobe {
namespace {

using test::Create;
using test::ForStoragesAndCounts;
using test::Hooking;
using test::Listening;
using test::Storage;
using test::WithHandler;

// Waits at `gate` in a hooked frame.
std::atomic<int> g_inside{0};
std::atomic<bool> g_gate{false};
TARGET long waiting(long x) {
  RETPROBE_TEST_ENTER();
  ++g_inside;
  while (!g_gate) std::this_thread::yield();
  return x + 1;
}

TEST_CASE("activations that outlive their Rethook return, and free it") {
  ForStoragesAndCounts([&](Storage storage, int count) {
    g_inside = 0;
    g_gate = false;
    std::atomic<int> handled{0};
    auto options = WithHandler([&](ReturnContext&) noexcept { ++handled; });
    options.storage = storage;
    auto rethook = Create(std::move(options));
    test::g_rethook = rethook.get();
    std::vector<std::thread> threads;
    std::atomic<int> right{0};
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&, i] { right += waiting(i) == i + 1; });
    }
    while (g_inside < count) std::this_thread::yield();
    CHECK(rethook->in_use() == static_cast<size_t>(count));
    test::g_rethook = nullptr;
    rethook.reset();
    const auto owned = [] {
      int owned = 0;
      ForEachRecord([&](SlotRecord& record) { owned += record.owner != 0; });
      return owned;
    };
    CHECK(owned() == count);
    g_gate = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(right == count);
    CHECK(handled == 0);
    CHECK(owned() == 0);
  });
}

// Ends the Rethook that its own return is hooked by.
TARGET long outliving(std::unique_ptr<Rethook>* rethook) {
  RETPROBE_TEST_ENTER();
  test::g_rethook = nullptr;
  rethook->reset();
  return 7;
}

// Pages of address space.
long MappedPages() {
  std::ifstream statm("/proc/self/statm");
  long pages = 0;
  statm >> pages;
  return pages;
}

TEST_CASE("a thousand Rethooks that are outlived leave no memory behind") {
  for (const Storage storage : test::kStorages) {
    CAPTURE(test::NameOf(storage));
    long before = 0;
    for (int i = 0; i < 1010; ++i) {
      if (i == 10) before = MappedPages();
      auto options = WithHandler([](ReturnContext&) noexcept {});
      options.storage = storage;
      auto rethook = Create(std::move(options));
      test::g_rethook = rethook.get();
      REQUIRE(outliving(&rethook) == 7);
    }
    CHECK(MappedPages() - before < 100);
  }
}

TEST_CASE("a child of fork returns from what its parent had hooked") {
  for (const Storage storage : test::kStorages) {
    CAPTURE(test::NameOf(storage));
    std::atomic<int> handled{0};
    auto options = WithHandler([&](ReturnContext&) noexcept { ++handled; });
    options.storage = storage;
    const auto rethook = Create(std::move(options));
    const Listening listening(*rethook);
    struct Forking {
      __attribute__((noinline)) static pid_t Fork() {
        RETPROBE_TEST_ENTER();
        return fork();
      }
    };
    // Another thread is inside for good as far as the child is concerned.
    g_inside = 0;
    g_gate = false;
    std::thread other([] { waiting(1); });
    while (g_inside == 0) std::this_thread::yield();
    const pid_t child = Forking::Fork();
    if (child == 0) {
      const bool right = handled == 1 && leaf(1) == 4 && handled == 2 &&
                         rethook->in_use() == 1;
      rethook->Stop();
      _exit(right ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    g_gate = true;
    other.join();
    CHECK(handled == 2);
    CHECK(rethook->in_use() == 0);
  }
}

TEST_CASE("probes are attached by name as ever when there are slots") {
  const auto rethook = Create(WithHandler([](ReturnContext&) noexcept {}));
  ReturnProbeOptions options;
  std::atomic<int> returns{0};
  options.return_handler = [&](ReturnContext&) noexcept { ++returns; };
  const auto probe = ReturnProbe::Attach("leaf", std::move(options));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  const Listening listening(*rethook);
  CHECK(leaf(2) == 7);
  CHECK(returns == 1);
  Dl_info info;
  Rethook::Instance* instance = rethook->TryGet();
  REQUIRE(instance != nullptr);
  void* returns_to = nullptr;
  rethook->Hook(instance, &returns_to);
  REQUIRE(dladdr(returns_to, &info) != 0);
  CHECK(std::string(info.dli_fname) == "retprobe-slots");
  CHECK(std::string(info.dli_sname) == "retprobe_slots");
  CHECK(rethook->FlushTask(Rethook::CurrentTask()) == 1);
}

TEST_CASE("no handler runs once Stop has returned") {
  ForStoragesAndCounts([&](Storage storage, int count) {
    for (int round = 0; round < 1 + 8 / count; ++round) {
      std::atomic<bool> stopped{false};
      std::atomic<int> late{0};
      auto options = WithHandler([&](ReturnContext&) noexcept {
        for (int i = 0; i < 100; ++i) asm volatile("pause");
        if (stopped) ++late;
      });
      options.storage = storage;
      const auto rethook = Create(std::move(options));
      std::atomic<bool> end{false};
      std::atomic<int> wrong{0};
      std::atomic<int> ready{0};
      const Listening listening(*rethook);
      std::vector<std::thread> threads;
      for (int i = 0; i < count; ++i) {
        threads.emplace_back([&] {
          for (long x = 0; !end; ++x) {
            if (leaf(x) != x * 3 + 1) ++wrong;
            if (x == 10) ++ready;
          }
        });
      }
      while (ready < count) std::this_thread::yield();
      rethook->Stop();
      stopped = true;
      std::this_thread::yield();
      end = true;
      for (std::thread& thread : threads) thread.join();
      CHECK(late == 0);
      CHECK(wrong == 0);
      CHECK(rethook->in_use() == 0);
    }
  });
}

TEST_CASE("a dead thread's activations are flushed, and heard of") {
  ForStoragesAndCounts([&](Storage storage, int count) {
    Hooking hooking(storage);
    std::vector<Rethook::Task> tasks(count);
    InNewThreads(count, [&](int i) {
      tasks[i] = Rethook::CurrentTask();
      // Frames that nobody will return from: their return addresses are
      // hooked in what is not a stack.
      void* frames[10] = {};
      for (void*& frame : frames) test::Enter(&frame);
    });
    CHECK(hooking.rethook().in_use() == static_cast<size_t>(10 * count));
    for (const Rethook::Task task : tasks) {
      CHECK(hooking.rethook().FlushTask(task) == 10);
      CHECK(hooking.rethook().FlushTask(task) == 0);
    }
    CHECK(hooking.abandoned() == 10 * count);
  });
}

}  // namespace
}  // namespace retprobe
