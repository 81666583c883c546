// SPDX-License-Identifier: Apache-2.0
// Filters by thread and by caller: who is probed and who is not, to the last
// call.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ends.h"
#include "retprobe/return_probe.h"

TARGET long filter_target(long a) {
  asm volatile("");
  return a + 1;
}
TARGET long filter_from_a(long a) { return filter_target(a) + 10; }
TARGET long filter_from_b(long a) { return filter_target(a) + 20; }

// Ends by a jump to filter_target.
asm(R"(
  .text
  .globl filter_tail
  .type filter_tail, @function
filter_tail:
  nopl 8(%rax, %rax)
  jmp filter_target
  .size filter_tail, . - filter_tail
)");
extern "C" long filter_tail(long a);
TARGET long filter_from_tail(long a) { return filter_tail(a) + 30; }

TARGET int filter_compare(const void* a, const void* b) {
  asm volatile("");
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

namespace retprobe {
namespace {

CodeSet Found(const std::string& text) {
  auto code = CodeSet::Find(text);
  REQUIRE_MESSAGE(code.ok(), code.status().ToString());
  CHECK(!code->empty());
  return *code;
}

TEST_CASE("a filter by thread lets through exactly the calls of its threads") {
  constexpr int kCalls = 1000;
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends mine, others, first, every;
    std::vector<pid_t> ids(threads);
    std::atomic<int> told{0};
    std::atomic<bool> attached{false};
    std::thread callers([&] {
      InNewThreads(threads, [&](int i) {
        ids[i] = gettid();
        ++told;
        while (!attached) std::this_thread::yield();
        for (int n = 0; n < kCalls; ++n) CHECK(filter_target(n) == n + 1);
      });
    });
    while (told != threads) std::this_thread::yield();
    const auto with = [](Ends& ends, CallFilter filter) {
      ReturnProbeOptions options = ends.Options();
      options.filter = std::move(filter);
      return Attached(&filter_target, std::move(options));
    };
    {
      const auto a = with(mine, {.threads = {0}, .except_threads = {}});
      const auto b = with(others, {.threads = {}, .except_threads = {0}});
      const auto c =
          with(first, {.threads = {ids[0], 0, ids[0]}, .except_threads = {0}});
      const auto d = with(every, {});
      attached = true;
      callers.join();
      for (int n = 0; n < 7; ++n) filter_target(n);
      for (const auto* probe : {&a, &b, &c, &d}) {
        CHECK(probe->nmissed().total() == 0);
      }
    }
    CHECK(mine.entered == 7);
    CHECK(others.entered == threads * kCalls);
    CHECK(first.entered == kCalls);
    CHECK(every.entered == threads * kCalls + 7);
    for (const auto* ends : {&mine, &others, &first, &every}) {
      CHECK(ends->entered == ends->returned);
    }
    CHECK(Out() == 0);
  }
}

TEST_CASE("a probe with a return handler alone is filtered just so") {
  Ends ends;
  ReturnProbeOptions options = ends.Options();
  options.entry_handler = {};
  options.filter.threads = {0};
  const auto probe = Attached(&filter_target, std::move(options));
  InNewThreads(2, [] {
    for (int n = 0; n < 100; ++n) filter_target(n);
  });
  CHECK(ends.returned == 0);
  filter_target(1);
  CHECK(ends.returned == 1);
}

TEST_CASE("a filter by caller knows functions, modules and addresses") {
  const auto calls = [] {
    filter_from_a(1);
    filter_from_b(1);
    filter_from_b(1);
  };
  const auto from = reinterpret_cast<uintptr_t>(&filter_from_b);
  const auto seen = [&](const CodeSet& callers) {
    Ends ends;
    ReturnProbeOptions options = ends.Options();
    options.filter.callers = callers;
    const auto probe = Attached(&filter_target, std::move(options));
    calls();
    CHECK(ends.returned == ends.entered);
    return ends.entered.load();
  };
  CHECK(seen({}) == 3);
  CHECK(seen(Found("probe_filter_test:filter_from_a")) == 1);
  CHECK(seen(Found("filter_from_b")) == 2);
  CHECK(seen(Found("probe_filter_test:filter_from_?")) == 3);
  CHECK(seen(Found("probe_filter_test:*")) == 3);
  CHECK(seen(Found("libc.so.6:*")) == 0);
  CHECK(seen(Found("libc.so.6:*") | Found("filter_from_a")) == 1);
  CHECK(seen(CodeSet({{from, from + 100}})) >= 2);
  CHECK(seen(Found(absl::StrCat("0x", absl::Hex(from), "-0x",
                                absl::Hex(from + 1)))) == 0);

  Ends ends, own;
  ReturnProbeOptions options = ends.Options();
  options.filter.callers = Found("libc.so.6:*");
  const auto probe = Attached(&filter_compare, std::move(options));
  options = own.Options();
  options.filter.callers = Found("probe_filter_test:*");
  const auto beside = Attached(&filter_compare, std::move(options));
  int numbers[] = {3, 1, 2};
  std::qsort(numbers, 3, sizeof(int), &filter_compare);
  CHECK(ends.entered >= 2);
  CHECK(ends.entered == ends.returned);
  CHECK(own.entered == 0);
  const long before = ends.entered;
  filter_compare(&numbers[0], &numbers[1]);
  CHECK(ends.entered == before);
  CHECK(own.entered == 1);
}

TEST_CASE("the caller of a function that was jumped to is who called first") {
  Ends outer, inner;
  void* seen = nullptr;
  const auto a = Attached(&filter_tail, outer.Options());
  ReturnProbeOptions options = inner.Options();
  options.entry_handler = [&](EntryContext& context) noexcept {
    seen = context.return_address();
    ++inner.entered;
    return true;
  };
  options.filter.callers = Found("filter_from_tail");
  const auto b = Attached(&filter_target, std::move(options));
  CHECK(filter_from_tail(4) == 35);
  CHECK(outer.returned == 1);
  CHECK(inner.entered == 1);
  CHECK(inner.returned == 1);
  CHECK(Found("filter_from_tail").Contains(reinterpret_cast<uintptr_t>(seen)));
}

TEST_CASE("code that is not there is told") {
  const auto message = [](const char* text) {
    return std::string(CodeSet::Find(text).status().message());
  };
  CHECK(absl::StrContains(message("libc.so.6:mallocx"), "did you mean"));
  CHECK(message("libnever.so:*") ==
        "'libnever.so:*': no such module is loaded");
  CHECK(message("libc.so.6:no_such_*") ==
        "'libc.so.6:no_such_*': no function of that name");
  for (const char* wrong : {"0x10", "0x20-0x10", "0xz-0x1"}) {
    CHECK(absl::StrContains(message(wrong), "expected 0xFIRST-0xLAST"));
  }
}

TEST_CASE("a filter changes while threads call; no entry is without its end") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    ReturnProbe probe = Attached(&filter_target, ends.Options());
    std::atomic<bool> stop{false};
    std::thread callers([&] {
      InNewThreads(threads, [&] {
        while (!stop) filter_target(1);
      });
    });
    for (int i = 0; i < 200; ++i) {
      CallFilter filter;
      if (i % 3 == 0) filter.threads = {0};
      if (i % 3 == 1) filter.callers = Found("0x10-0x20");
      CHECK(probe.SetFilter(filter).ok());
    }
    CHECK(probe.SetFilter({.threads = {0}, .except_threads = {}}).ok());
    stop = true;
    callers.join();
    CHECK(ends.entered == ends.returned);
    const long before = ends.entered;
    filter_target(1);
    InNewThreads(2, [] { filter_target(1); });
    CHECK(ends.entered == before + 1);
    CHECK(!probe.SetFilter({.threads = {-1}, .except_threads = {}}).ok());
    CHECK(!probe.SetFilter({.threads = {0}, .except_threads = {0}}).ok());
    filter_target(1);
    CHECK(ends.entered == before + 2);
  }
  CHECK(Out() == 0);
}

TEST_CASE("in a forked child its one thread has an id of its own") {
  Ends ends;
  ReturnProbeOptions options = ends.Options();
  options.filter.threads = {0};
  ReturnProbe probe = Attached(&filter_target, std::move(options));
  filter_target(1);
  const pid_t child = fork();
  if (child == 0) {
    filter_target(1);
    const bool out = ends.entered == 1;
    const bool set =
        probe.SetFilter({.threads = {0}, .except_threads = {}}).ok();
    filter_target(1);
    _exit(out && set && ends.entered == 2 && ends.returned == 2 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

}  // namespace
}  // namespace retprobe
