// SPDX-License-Identifier: Apache-2.0
//
// Which activations AbandonFrames takes for those of a stack, and in which
// order they end.
#include <doctest/doctest.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "ends.h"
#include "rethook/instance.h"

// `depth` probed frames, then `then()`.
extern "C" __attribute__((noinline, noclone)) long given_up(
    long depth, const std::function<void()>* then) {
  if (depth == 1) {
    if (then != nullptr) (*then)();
    return 1;
  }
  const long below = given_up(depth - 1, then);
  asm volatile("");
  return below + 1;
}

namespace retprobe {
namespace {

// What this thread's handlers saw, in order.
thread_local std::vector<ReturnInstance*> g_entered;
thread_local std::vector<uintptr_t> g_abandoned;  // frames

ReturnProbeOptions Noting(Ends& ends) {
  ReturnProbeOptions options = ends.Options();
  options.entry_handler = [&ends](EntryContext& context) noexcept {
    ++ends.entered;
    ReturnInstance* instance;
    std::memcpy(&instance, &context, sizeof(instance));
    g_entered.push_back(instance);
    return true;
  };
  options.return_handler = [&ends](ReturnContext& context) noexcept {
    ends.Count(context.reason());
    if (context.reason() == EndReason::kAbandoned) {
      g_abandoned.push_back(reinterpret_cast<uintptr_t>(context.frame()));
    }
  };
  return options;
}

constexpr long kDepth = 5;

// A stack that is left with `kDepth` probed frames on it.
class LeftStack {
 public:
  LeftStack() : memory_(std::make_unique<char[]>(kSize)) {
    static thread_local LeftStack* made;
    made = this;
    g_entered.clear();
    g_abandoned.clear();
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = memory_.get();
    context.uc_stack.ss_size = kSize;
    makecontext(
        &context, [] { made->Run(); }, 0);
    swapcontext(&home_, &context);
  }

  const char* low() const { return memory_.get(); }
  const char* high() const { return memory_.get() + kSize; }

  // Outermost first.
  const std::vector<ReturnInstance*>& instances() const { return instances_; }

  size_t Abandon() const { return AbandonFrames(low(), high()); }

 private:
  static constexpr size_t kSize = 64 * 1024;

  void Run() {
    const std::function<void()> leave = [this] {
      instances_ = g_entered;
      setcontext(&home_);
    };
    given_up(kDepth, &leave);
  }

  std::unique_ptr<char[]> memory_;
  ucontext_t home_;
  std::vector<ReturnInstance*> instances_;
};

// Runs `check` in so many threads, from within a probed call, whose instance
// it gets and may change, but not for good.
void InProbedCalls(const std::function<void(ReturnInstance&)>& check,
                   const std::vector<int>& numbers = {1, 2, 8}) {
  for (const int threads : numbers) {
    CAPTURE(threads);
    Ends ends;
    const ReturnProbe probe = Attached(&given_up, Noting(ends));
    InThreads(threads, [&] {
      const std::function<void()> inside = [&] {
        ReturnInstance& own = *g_entered.back();
        const uint64_t frame = own.frame;
        check(own);
        own.frame = frame;
      };
      CHECK(given_up(1, &inside) == 1);
    });
    CHECK(ends.entered == ends.ended());
    CHECK(ends.abandoned == threads * kDepth);
    CHECK(Out() == 0);
  }
}

TEST_CASE("what is on a stack that is given up ends innermost first") {
  InProbedCalls([](ReturnInstance&) {
    const LeftStack stack;
    REQUIRE(stack.instances().size() == kDepth);
    CHECK(stack.Abandon() == kDepth);
    CHECK(g_abandoned.size() == kDepth);
    CHECK(std::is_sorted(g_abandoned.begin(), g_abandoned.end()));
    CHECK(stack.Abandon() == 0);
  });
}

TEST_CASE("a part of a stack is given up to the word") {
  InProbedCalls([](ReturnInstance&) {
    const LeftStack stack;
    const auto frame =
        reinterpret_cast<const char*>(stack.instances()[2]->frame);
    CHECK(AbandonFrames(frame + 8, frame + 16) == 0);
    CHECK(AbandonFrames(frame - 8, frame) == 0);
    CHECK(AbandonFrames(frame, frame + 8) == 1);
    CHECK(g_abandoned == std::vector{reinterpret_cast<uintptr_t>(frame) + 8});
    CHECK(AbandonFrames(frame, stack.high()) == 2);
    CHECK(stack.Abandon() == 2);
  });
}

// As those of other threads may look that have taken the instance and not yet
// noted the frame, or whose calls are over.
TEST_CASE("instances that had been on the stack are none of it") {
  InProbedCalls([](ReturnInstance& own) {
    const LeftStack stack;
    ReturnInstance& twin = *stack.instances()[1];
    // Which of the two is on the stack cannot be told.
    own.frame = twin.frame;
    CHECK(stack.Abandon() == kDepth - 1);
    // No body is under way there.
    own.frame = reinterpret_cast<uint64_t>(stack.low());
    CHECK(stack.Abandon() == 1);
    CHECK(stack.Abandon() == 0);
  });
}

// In one thread: another could have taken the instance that is changed.
TEST_CASE("an instance that is idle is on no stack") {
  const auto check = [](ReturnInstance&) {
    given_up(2, nullptr);
    ReturnInstance& inner = *g_entered.back();
    const LeftStack stack;
    // Of the two that have come home one may be out again.
    const auto& out = stack.instances();
    if (std::find(out.begin(), out.end(), &inner) == out.end()) {
      inner.frame = out[1]->frame;
    }
    CHECK(stack.Abandon() == kDepth);
  };
  InProbedCalls(check, {1});
}

}  // namespace
}  // namespace retprobe
