// SPDX-License-Identifier: Apache-2.0
// What several probes of one function have each for themselves: data, and the
// activations that they saw begin.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "probe/registry.h"
#include "retprobe/return_probe.h"

extern "C" {

__attribute__((noinline, noclone)) long list_nested(long depth) {
  if (depth == 0) return 0;
  long below = list_nested(depth - 1);
  asm volatile("" : "+r"(below));  // no loop in its place
  return below + 1;
}

// Runs `inside` while it is under way.
__attribute__((noinline, noclone)) long list_outer(void (*inside)(void*),
                                                   void* argument) {
  inside(argument);
  asm volatile("");
  return 1;
}
}

namespace retprobe {
namespace {

void* Address(auto* function) { return reinterpret_cast<void*>(function); }

size_t Out() { return Registry::Get().InstancesInUse(); }

void InThreads(int count, const std::function<void()>& run) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(run);
  for (std::thread& thread : threads) thread.join();
}

struct Ends {
  std::atomic<long> entries{0};
  std::atomic<long> returns{0};
  std::atomic<long> wrong{0};
};

// A probe that marks both ends of its data with itself and the activation.
ReturnProbeOptions Marking(Ends& ends, size_t data_size, uint64_t mark) {
  ReturnProbeOptions options;
  options.data_size = data_size;
  const auto marks = [data_size](void* data) {
    return std::pair(static_cast<char*>(data),
                     static_cast<char*>(data) + data_size - sizeof(uint64_t));
  };
  options.entry_handler = [&ends, marks, mark](EntryContext& context) noexcept {
    const auto [first, last] = marks(context.data());
    const uint64_t own =
        mark + (reinterpret_cast<uint64_t>(context.frame()) << 8);
    std::memcpy(first, &own, sizeof(own));
    std::memcpy(last, &own, sizeof(own));
    ++ends.entries;
    return true;
  };
  options.return_handler = [&ends, marks,
                            mark](ReturnContext& context) noexcept {
    const auto [first, last] = marks(context.data());
    const uint64_t own =
        mark + (reinterpret_cast<uint64_t>(context.frame()) << 8);
    ends.wrong += std::memcmp(first, &own, sizeof(own)) != 0 ||
                  std::memcmp(last, &own, sizeof(own)) != 0;
    ++ends.returns;
  };
  return options;
}

TEST_CASE("64 probes of one function each have their data, of any size") {
  for (const size_t size : {size_t{8}, size_t{1000}, size_t{1} << 20}) {
    CAPTURE(size);
    Ends ends;
    std::vector<ReturnProbe> probes;
    for (uint64_t i = 0; i < 64; ++i) {
      auto probe = ReturnProbe::Attach(Address(&list_nested),
                                       Marking(ends, size + 8 * (i % 3), i));
      REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
      probes.push_back(*std::move(probe));
    }
    CHECK(absl::IsResourceExhausted(
        ReturnProbe::Attach(Address(&list_nested), {}).status()));
    long calls = 0;
    for (const int threads : {1, 2, 8}) {
      InThreads(threads, [] {
        for (int i = 0; i < 3; ++i) CHECK(list_nested(3) == 3);
      });
      calls += 3 * 4 * threads;
    }
    CHECK(ends.wrong == 0);
    CHECK(ends.entries == 64 * calls);
    CHECK(ends.returns == 64 * calls);
    for (const ReturnProbe& probe : probes) CHECK(probe.nmissed().total() == 0);
    probes.clear();
    CHECK(Out() == 0);
  }
}

TEST_CASE("data beyond what an instance can hold is refused, and no more") {
  Ends ends;
  auto half = ReturnProbe::Attach(Address(&list_nested),
                                  Marking(ends, size_t{1} << 29, 1));
  REQUIRE_MESSAGE(half.ok(), half.status().ToString());
  auto second = ReturnProbe::Attach(Address(&list_nested),
                                    Marking(ends, size_t{1} << 29, 2));
  CHECK(absl::IsInvalidArgument(second.status()));
  CHECK_MESSAGE(absl::StrContains(second.status().message(),
                                  "1073741824 bytes of data per activation; at "
                                  "most 1073737728 are possible"),
                second.status().ToString());
  CHECK(list_nested(2) == 2);
  CHECK(ends.entries == 3);
  CHECK(ends.returns == 3);
  CHECK(ends.wrong == 0);
}

TEST_CASE("without address space for the data the reason is told") {
  const pid_t child = fork();
  if (child == 0) {
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const size_t most = pages * 4096 + (size_t{3} << 30);
    const rlimit limit = {most, most};
    setrlimit(RLIMIT_AS, &limit);
    Ends ends;
    auto probe = ReturnProbe::Attach(Address(&list_nested),
                                     Marking(ends, size_t{200} << 20, 1));
    const bool told =
        absl::IsResourceExhausted(probe.status()) &&
        absl::StrContains(probe.status().message(), "no address space");
    auto small =
        ReturnProbe::Attach(Address(&list_nested), Marking(ends, 8, 1));
    list_nested(4);
    _exit(told && small.ok() && ends.returns == 5 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("a probe attached during a call has no return without its entry") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends first, second;
    auto probe =
        ReturnProbe::Attach(Address(&list_outer), Marking(first, 8, 1));
    REQUIRE(probe.ok());
    std::atomic<int> inside{0};
    std::atomic<bool> attached{false};
    struct Meeting {
      std::atomic<int>* inside;
      std::atomic<bool>* attached;
    } meeting = {&inside, &attached};
    std::thread callers([&] {
      InThreads(threads, [&] {
        list_outer(
            [](void* data) {
              auto& meet = *static_cast<Meeting*>(data);
              ++*meet.inside;
              while (!*meet.attached) std::this_thread::yield();
            },
            &meeting);
      });
    });
    while (inside != threads) std::this_thread::yield();
    auto late =
        ReturnProbe::Attach(Address(&list_outer), Marking(second, 8, 2));
    REQUIRE_MESSAGE(late.ok(), late.status().ToString());
    attached = true;
    callers.join();
    CHECK(first.entries == threads);
    CHECK(first.returns == threads);
    CHECK(second.entries == 0);
    CHECK(second.returns == 0);
    list_outer([](void*) {}, nullptr);
    CHECK(second.returns == 1);
    CHECK(first.wrong + second.wrong == 0);
  }
  CHECK(Out() == 0);
}

TEST_CASE("a probe detached during a call has no return, the others have") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends first, second;
    auto stays =
        ReturnProbe::Attach(Address(&list_outer), Marking(first, 8, 1));
    auto goes =
        ReturnProbe::Attach(Address(&list_outer), Marking(second, 8, 2));
    REQUIRE(stays.ok());
    REQUIRE(goes.ok());
    std::atomic<int> inside{0};
    std::atomic<bool> detached{false};
    struct Meeting {
      std::atomic<int>* inside;
      std::atomic<bool>* detached;
    } meeting = {&inside, &detached};
    std::thread callers([&] {
      InThreads(threads, [&] {
        list_outer(
            [](void* data) {
              auto& meet = *static_cast<Meeting*>(data);
              ++*meet.inside;
              while (!*meet.detached) std::this_thread::yield();
            },
            &meeting);
      });
    });
    while (inside != threads) std::this_thread::yield();
    goes->Detach();
    detached = true;
    callers.join();
    CHECK(first.returns == threads);
    CHECK(second.entries == threads);
    CHECK(second.returns == 0);
    CHECK(first.wrong == 0);
  }
  CHECK(Out() == 0);
}

}  // namespace
}  // namespace retprobe
