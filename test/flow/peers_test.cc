// SPDX-License-Identifier: Apache-2.0
//
// What other tools are known to fail at, each by its name. What is not here:
// fibers (contexts_test), frames left by exceptions (exceptions_test), deep
// recursion (depth_test), vector registers and backtraces (trampoline_test,
// unwind_test).
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "flow/flow.h"
#include "probe/registry.h"
#include "retprobe/return_probe.h"

FLOW_TARGET long plain(long x) {
  FLOW_NO_TAIL_CALL;
  return x + 1;
}

FLOW_TARGET long calls_back(const std::atomic<int>* stage) {
  while (*stage < 1) std::this_thread::yield();
  FLOW_NO_TAIL_CALL;
  return 7;
}

FLOW_TARGET long reads(int file) {
  char byte = 0;
  const ssize_t got = read(file, &byte, 1);
  FLOW_NO_TAIL_CALL;
  return got == 1 ? byte : -1;
}

namespace retprobe {
namespace {

using flow::Address;
using flow::InThreads;

ReturnProbe Attach(void* function, ReturnProbeOptions options) {
  auto probe = ReturnProbe::Attach(function, std::move(options));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  return *std::move(probe);
}

ReturnProbe Attach(const char* symbol, ReturnProbeOptions options) {
  auto probe = ReturnProbe::Attach(symbol, std::move(options));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  return *std::move(probe);
}

size_t Out() { return Registry::Get().InstancesInUse(); }

struct Ends {
  std::atomic<long> entered{0};
  std::atomic<long> returned{0};
  std::atomic<long> wrong{0};

  ReturnProbeOptions Options() {
    ReturnProbeOptions options;
    options.entry_handler = [this](EntryContext&) noexcept {
      ++entered;
      return true;
    };
    options.return_handler = [this](ReturnContext&) noexcept { ++returned; };
    return options;
  }
};

// guminterceptor.c, GUM_MAX_LISTENERS_PER_FUNCTION 2, unchecked: 100 calls with
// three listeners that fill their 1,024 bytes end in no onLeave at all.
TEST_CASE("three listeners fill their data, as frida-gum loses exits over") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    std::vector<ReturnProbe> probes;
    for (int i = 0; i < 3; ++i) {
      ReturnProbeOptions options;
      options.data_size = 1024;
      options.entry_handler = [&ends](EntryContext& context) noexcept {
        std::memset(context.data(), static_cast<int>(context.argument(0)),
                    1024);
        ++ends.entered;
        return true;
      };
      options.saved_arguments = 1;
      options.return_handler = [&ends](ReturnContext& context) noexcept {
        const auto* data = static_cast<const unsigned char*>(context.data());
        for (int b = 0; b < 1024; ++b) {
          ends.wrong += data[b] != (context.argument(0) & 0xff);
        }
        ++ends.returned;
      };
      probes.push_back(Attach(Address(&plain), std::move(options)));
    }
    InThreads(threads, [](int thread) {
      for (long i = 0; i < 100; ++i) plain(i + thread);
    });
    CHECK(ends.entered == 300 * threads);
    CHECK(ends.returned == 300 * threads);
    CHECK(ends.wrong == 0);
    CHECK(Out() == 0);
  }
}

// frida-gum runs the listeners of the moment of the return.
TEST_CASE(
    "a listener that joins during a call, whose exit frida-gum tells it") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends first;
    Ends late;
    const ReturnProbe a = Attach(Address(&calls_back), first.Options());
    std::atomic<int> stage{0};
    std::vector<std::thread> inside;
    for (int i = 0; i < threads; ++i) {
      inside.emplace_back([&] { first.wrong += calls_back(&stage) != 7; });
    }
    while (first.entered < threads) std::this_thread::yield();
    const ReturnProbe b = Attach(Address(&calls_back), late.Options());
    stage = 1;
    for (std::thread& thread : inside) thread.join();
    CHECK(first.returned == threads);
    CHECK(late.entered == 0);
    CHECK(late.returned == 0);
    calls_back(&stage);
    CHECK(late.returned == 1);
    CHECK(first.wrong == 0);
    CHECK(Out() == 0);
  }
}

// frida-gum issue 371: detaching hangs while a thread blocks in the function,
// or after an exception has left it.
TEST_CASE("detaching while threads block inside, where frida-gum hangs") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    int pipes[2];
    REQUIRE(pipe(pipes) == 0);
    Ends ends;
    ReturnProbe probe = Attach(Address(&reads), ends.Options());
    std::vector<std::thread> inside;
    for (int i = 0; i < threads; ++i) {
      inside.emplace_back([&] { ends.wrong += reads(pipes[0]) != 'x'; });
    }
    while (ends.entered < threads) std::this_thread::yield();
    probe.Detach();
    CHECK(Out() == static_cast<size_t>(threads));
    for (int i = 0; i < threads; ++i) CHECK(write(pipes[1], "x", 1) == 1);
    for (std::thread& thread : inside) thread.join();
    CHECK(ends.returned == 0);
    CHECK(ends.wrong == 0);
    CHECK(Out() == 0);
    close(pipes[0]);
    close(pipes[1]);
  }
}

// frida-gum issues 275 and 1024, frida issue 2930: handlers that come back to
// the function by themselves deadlock, or are left out without a count.
TEST_CASE("handlers call what they probe: malloc, free, close, locks") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    static std::mutex lock;
    const auto options = [&] {
      ReturnProbeOptions result;
      result.entry_handler = [&ends](EntryContext&) noexcept {
        void* volatile memory = std::malloc(100);
        std::free(memory);
        ++ends.entered;
        return true;
      };
      result.return_handler = [&ends](ReturnContext&) noexcept {
        const std::lock_guard<std::mutex> locked(lock);
        close(-1);
        ++ends.returned;
      };
      return result;
    };
    {
      std::vector<ReturnProbe> probes;
      for (const char* symbol :
           {"libc.so.6:malloc", "libc.so.6:free", "libc.so.6:close",
            "libc.so.6:pthread_mutex_lock", "libc.so.6:pthread_mutex_unlock"}) {
        probes.push_back(Attach(symbol, options()));
      }
      std::mutex other;
      InThreads(threads, [&] {
        for (int i = 0; i < 200; ++i) {
          auto memory = std::make_unique<char[]>(static_cast<size_t>(i) + 1);
          asm volatile("" ::"r"(memory.get()) : "memory");
          const std::lock_guard<std::mutex> locked(other);
          close(-1);
        }
      });
      uint64_t recursion = 0;
      for (const ReturnProbe& probe : probes) {
        recursion += probe.nmissed().recursion;
        CHECK(probe.nmissed().empty == 0);
      }
      CHECK(recursion > 0);
    }
    CHECK(ends.entered >= threads * 200 * 5);
    CHECK(ends.entered == ends.returned);
    CHECK(Out() == 0);
  }
}

// A lock that the caller of the probed function holds.
TEST_CASE("a handler takes the lock under which its function is called") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    std::recursive_mutex lock;
    long guarded = 0;
    ReturnProbeOptions options = ends.Options();
    options.return_handler = [&](ReturnContext&) noexcept {
      const std::lock_guard<std::recursive_mutex> locked(lock);
      ++guarded;
    };
    const ReturnProbe probe = Attach(Address(&plain), std::move(options));
    InThreads(threads, [&] {
      for (long i = 0; i < 200; ++i) {
        const std::lock_guard<std::recursive_mutex> locked(lock);
        ends.wrong += plain(i) != i + 1;
      }
    });
    CHECK(guarded == threads * 200);
    CHECK(ends.entered == guarded);
    CHECK(ends.wrong == 0);
    CHECK(Out() == 0);
  }
}

TEST_CASE("one of many threads detaches a probe from its own handler") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    std::atomic<bool> taken{false};
    std::atomic<bool> gone{false};
    ReturnProbe* self = nullptr;
    ReturnProbeOptions options;
    options.entry_handler = [&](EntryContext&) noexcept {
      ends.wrong += gone;
      if (++ends.entered > 50 && !taken.exchange(true)) {
        self->Detach();
        gone = true;
      }
      return true;
    };
    ReturnProbe probe = Attach(Address(&plain), std::move(options));
    self = &probe;
    InThreads(threads, [&] {
      for (long i = 0; i < 500; ++i) ends.wrong += plain(i) != i + 1;
    });
    CHECK(taken);
    CHECK(ends.entered < 500 * threads);
    CHECK(ends.wrong == 0);
    CHECK(Out() == 0);
  }
}

}  // namespace
}  // namespace retprobe
