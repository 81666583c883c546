// SPDX-License-Identifier: Apache-2.0
// Limits of depth and of hits: counted to the last call.
#include <doctest/doctest.h>
#include <ucontext.h>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "ends.h"
#include "rethook/depth_account.h"
#include "retprobe/return_probe.h"

TARGET long limits_target(long a) {
  asm volatile("");
  return a + 1;
}

TARGET long limits_nested(long depth) {
  if (depth == 0) return 0;
  long below = limits_nested(depth - 1);
  asm volatile("" : "+r"(below));  // no loop in its place
  return below + 1;
}

TARGET long limits_throws(long depth) {
  if (depth == 0) throw std::runtime_error("out");
  long below = limits_throws(depth - 1);
  asm volatile("" : "+r"(below));
  return below + 1;
}

TARGET long limits_calls(void (*inside)(void*), void* argument) {
  inside(argument);
  asm volatile("");
  return 1;
}

namespace retprobe {
namespace {

ReturnProbeOptions Deep(Ends& ends, int max_depth) {
  ReturnProbeOptions options = ends.Options();
  options.max_depth = max_depth;
  return options;
}

TEST_CASE("recursion beyond max_depth is counted, and not probed") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    for (const int depth : {1, 3, 10, 65535}) {
      CAPTURE(depth);
      constexpr long kRounds = 50;
      Ends ends;
      const auto probe = Attached(&limits_nested, Deep(ends, depth));
      InNewThreads(threads, [] {
        for (int i = 0; i < kRounds; ++i) CHECK(limits_nested(9) == 9);
      });
      const long probed = std::min(depth, 10) * kRounds * threads;
      CHECK(ends.entered == probed);
      CHECK(ends.returned == probed);
      CHECK(probe.nmissed().depth == 10 * kRounds * threads - probed);
      CHECK(probe.nmissed().total() == probe.nmissed().depth);
    }
  }
  CHECK(Out() == 0);
}

TEST_CASE("frames that are unwound leave their depth") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    const auto probe = Attached(&limits_throws, Deep(ends, 2));
    InNewThreads(threads, [] {
      for (int i = 0; i < 20; ++i) CHECK_THROWS(limits_throws(4));
    });
    CHECK(ends.entered == 2 * 20 * threads);
    CHECK(ends.unwound == 2 * 20 * threads);
    CHECK(probe.nmissed().depth == 3 * 20 * threads);
  }
  CHECK(Out() == 0);
}

TEST_CASE("a call that the entry handler declines has no depth") {
  Ends ends;
  ReturnProbeOptions options = Deep(ends, 2);
  options.entry_handler = [&](EntryContext& context) noexcept {
    if (context.argument(0) % 2 != 0) return false;
    ++ends.entered;
    return true;
  };
  const auto probe = Attached(&limits_nested, std::move(options));
  CHECK(limits_nested(9) == 9);
  CHECK(ends.entered == 2);  // of 8 and 6
  CHECK(ends.returned == 2);
  CHECK(probe.nmissed().depth == 6);
}

TEST_CASE("each probe of a function has a depth of its own, and its data") {
  Ends one, three;
  std::atomic<long> wrong{0};
  const auto with_data = [&](Ends& ends, int depth) {
    ReturnProbeOptions options = Deep(ends, depth);
    options.data_size = 8;
    options.entry_handler = [&](EntryContext& context) noexcept {
      *static_cast<uint64_t*>(context.data()) = context.argument(0);
      ++ends.entered;
      return true;
    };
    options.saved_arguments = 1;
    options.return_handler = [&](ReturnContext& context) noexcept {
      wrong += *static_cast<uint64_t*>(context.data()) != context.argument(0);
      ++ends.returned;
    };
    return Attached(&limits_nested, std::move(options));
  };
  const auto a = with_data(one, 1);
  const auto b = with_data(three, 3);
  InNewThreads(8, [] { CHECK(limits_nested(5) == 5); });
  CHECK(one.entered == 8);
  CHECK(one.returned == 8);
  CHECK(three.entered == 24);
  CHECK(three.returned == 24);
  CHECK(a.nmissed().depth == 40);
  CHECK(b.nmissed().depth == 24);
  CHECK(wrong == 0);
}

// A fiber that stops inside a probed function and goes on where it is told.
struct Fiber {
  ucontext_t self, resumer;
  std::vector<char> stack = std::vector<char>(256 << 10);
  bool done = false;
};
Fiber* g_fiber;

void Begin(Fiber& fiber) {
  g_fiber = &fiber;
  getcontext(&fiber.self);
  fiber.self.uc_stack.ss_sp = fiber.stack.data();
  fiber.self.uc_stack.ss_size = fiber.stack.size();
  fiber.self.uc_link = &fiber.resumer;
  makecontext(
      &fiber.self,
      [] {
        Fiber* const own = g_fiber;
        limits_calls(
            [](void* data) {
              auto* fiber = static_cast<Fiber*>(data);
              swapcontext(&fiber->self, &fiber->resumer);
            },
            own);
        own->done = true;
      },
      0);
  swapcontext(&fiber.resumer, &fiber.self);
}

void Resume(Fiber& fiber) { swapcontext(&fiber.resumer, &fiber.self); }

void Nothing(void*) {}

TEST_CASE("a fiber's activation stays with the thread that it began in") {
  Ends ends;
  const auto probe = Attached(&limits_calls, Deep(ends, 1));
  Fiber fiber;
  Begin(fiber);
  CHECK(ends.entered == 1);
  limits_calls(&Nothing, nullptr);  // beside it, in the same thread
  CHECK(ends.entered == 1);
  CHECK(probe.nmissed().depth == 1);
  std::thread([&] {
    limits_calls(&Nothing, nullptr);  // this thread has none
    CHECK(ends.entered == 2);
    Resume(fiber);
    CHECK(fiber.done);
    limits_calls(&Nothing, nullptr);
  }).join();
  CHECK(ends.entered == 3);
  limits_calls(&Nothing, nullptr);
  CHECK(ends.entered == 4);
  CHECK(ends.returned == 4);
  CHECK(probe.nmissed().depth == 1);
  CHECK(Out() == 0);
}

TEST_CASE("fibers that cross threads lose no account") {
  Ends ends;
  const auto probe = Attached(&limits_calls, Deep(ends, 3));
  constexpr int kFibers = 3;
  for (int round = 0; round < 20; ++round) {
    std::vector<Fiber> fibers(kFibers);
    for (Fiber& fiber : fibers) Begin(fiber);
    std::thread([&] {
      for (Fiber& fiber : fibers) Resume(fiber);
    }).join();
  }
  CHECK(ends.entered == 20 * kFibers);
  CHECK(ends.returned == 20 * kFibers);
  CHECK(probe.nmissed().total() == 0);
}

TEST_CASE("max_hits is exact, and what comes later is counted") {
  constexpr long kCalls = 200000;
  constexpr long kMost = 150000;
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    ReturnProbeOptions options = ends.Options();
    options.max_hits = kMost;
    auto probe = Attached(&limits_target, std::move(options));
    InNewThreads(threads, [] {
      for (long i = 0; i < kCalls; ++i) limits_target(i);
    });
    CHECK(ends.entered == kMost);
    CHECK(ends.returned == kMost);
    CHECK(probe.nmissed().limit == threads * kCalls - kMost);
    CHECK(probe.nmissed().total() == probe.nmissed().limit);
    CHECK(probe.enabled());
  }
  CHECK(Out() == 0);
}

TEST_CASE("a probe may stop itself after max_hits, and begin again") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    ReturnProbeOptions options = ends.Options();
    options.max_hits = 100;
    options.stop_at_max_hits = true;
    auto probe = Attached(&limits_target, std::move(options));
    const auto call = [threads] {
      InNewThreads(threads, [] {
        for (long i = 0; i < 500; ++i) limits_target(i);
      });
    };
    for (int i = 1; i <= 3; ++i) {
      CHECK(probe.enabled());
      call();
      CHECK(ends.entered == 100 * i);
      CHECK(ends.returned == 100 * i);
      CHECK(!probe.enabled());
      CHECK(probe.nmissed().total() == 0);
      probe.Enable();
    }
    probe.Disable();
    call();
    CHECK(ends.entered == 300);
    probe.Enable();  // only disabled, not used up
    call();
    CHECK(ends.entered == 400);
  }
  CHECK(Out() == 0);
}

TEST_CASE("a call is left out by one limit, and counts for that one alone") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    ReturnProbeOptions options = Deep(ends, 4);
    options.maxactive = 5;
    options.max_hits = 21;
    const auto probe = Attached(&limits_nested, std::move(options));
    InNewThreads(threads, [] {
      for (int i = 0; i < 30; ++i) limits_nested(9);
    });
    const Missed missed = probe.nmissed();
    CHECK(ends.entered == 21);
    CHECK(ends.returned == 21);
    CHECK(missed.total() == 300u * threads - 21);
    CHECK(missed.limit > 0);
    if (threads > 1) continue;  // the rest is a matter of who comes when
    CHECK(missed.empty == 0);
    CHECK(missed.depth == 5 * 6);
  }
  CHECK(Out() == 0);
}

TEST_CASE("limits out of range are refused by name") {
  const auto message = [](ReturnProbeOptions options) {
    return std::string(
        ReturnProbe::Attach(reinterpret_cast<void*>(&limits_target),
                            std::move(options))
            .status()
            .message());
  };
  ReturnProbeOptions options;
  options.max_depth = 65536;
  CHECK(absl::StrContains(message(std::move(options)), "max_depth is 65536"));
  options = {};
  options.max_depth = -1;
  CHECK(absl::StrContains(message(std::move(options)), "max_depth is -1"));
  options = {};
  options.stop_at_max_hits = true;
  CHECK(absl::StrContains(message(std::move(options)), "max_hits is 0"));
  options = {};
  options.filter.threads = {-7};
  CHECK(absl::StrContains(message(std::move(options)), "thread -7"));
}

TEST_CASE("accounts are many, and free again when they are empty") {
  std::vector<uint32_t> accounts;
  std::optional<uint32_t> refused;
  for (uint32_t probe = 1u << 20; !refused; ++probe) {
    const uint32_t account = DepthAccount::Enter(probe, 1);
    if (account == DepthAccount::kNoRoom) {
      refused = probe;
    } else {
      REQUIRE(account < DepthAccount::kNoRoom);
      CHECK(DepthAccount::Enter(probe, 1) == DepthAccount::kTooDeep);
      accounts.push_back(account);
    }
  }
  CHECK(accounts.size() > 50000);
  for (const uint32_t account : accounts) DepthAccount::Leave(account);
  const uint32_t account = DepthAccount::Enter(*refused, 1);
  CHECK(account < DepthAccount::kNoRoom);
  DepthAccount::Leave(account);
}

}  // namespace
}  // namespace retprobe
