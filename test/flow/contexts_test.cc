// SPDX-License-Identifier: Apache-2.0
//
// Probed functions that are left on one stack, or thread, and resumed on
// another. Those who keep a stack of return addresses per thread fail here.
#include <ucontext.h>

#include <atomic>
#include <boost/context/fiber.hpp>
#include <memory>
#include <vector>

#include "flow/flow.h"

#if defined(__cpp_impl_coroutine)
#include <coroutine>
#endif

namespace {

// A stack of its own, switched to and from by ucontext.
class Fiber {
 public:
  explicit Fiber(void (*function)(Fiber*)) : stack_(64 * 1024) {
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_.data();
    inside_.uc_stack.ss_size = stack_.size();
    inside_.uc_link = &outside_;
    const auto self = reinterpret_cast<uintptr_t>(this);
    const auto start = reinterpret_cast<uintptr_t>(function);
    makecontext(&inside_, reinterpret_cast<void (*)()>(&Fiber::Start), 4,
                static_cast<unsigned>(self), static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(start),
                static_cast<unsigned>(start >> 32));
  }
  void Resume() { swapcontext(&outside_, &inside_); }
  void Suspend() { swapcontext(&inside_, &outside_); }

  long result = 0;

 private:
  static void Start(unsigned a, unsigned b, unsigned c, unsigned d) {
    auto* self = reinterpret_cast<Fiber*>(a | uintptr_t{b} << 32);
    reinterpret_cast<void (*)(Fiber*)>(c | uintptr_t{d} << 32)(self);
  }
  std::vector<char> stack_;
  ucontext_t inside_;
  ucontext_t outside_;
};

using boost::context::fiber;

struct Torn {};  // thrown in a fiber

}  // namespace

FLOW_TARGET long crossing(Fiber* fiber, long x) {
  fiber->Suspend();
  FLOW_NO_TAIL_CALL;
  return x;
}

FLOW_TARGET long deep_crossing(Fiber* fiber, long depth) {
  const long below = depth == 0 ? 0 : deep_crossing(fiber, depth - 1);
  fiber->Suspend();
  return below + 1;
}

FLOW_TARGET long boost_crossing(fiber* other, long x) {
  *other = std::move(*other).resume();
  FLOW_NO_TAIL_CALL;
  return x;
}

FLOW_TARGET long boost_throwing(fiber* other) {
  *other = std::move(*other).resume();
  throw Torn();
}

namespace {

using flow::Address;
using flow::InThreads;
using flow::WatchEnds;

constexpr int kRounds = 20;

struct Expect {
  std::atomic<long> wrong{0};
  void operator()(bool right) { wrong += right ? 0 : 1; }
  ~Expect() { CHECK(wrong == 0); }
};

// frida-gum: SIGSEGV in _gum_function_context_end_invocation (its issue 1142);
// uftrace 0.13: "invalid dynsym idx", the tracee aborts (its issue 1848).
TEST_CASE("two fibers cross, as frida-gum and uftrace crash on") {
  Expect expect;
  WatchEnds({Address(&crossing)}, kRounds, 2, 0, [&](int) {
    Fiber a([](Fiber* self) { self->result = crossing(self, 11); });
    Fiber b([](Fiber* self) { self->result = crossing(self, 22); });
    a.Resume();
    b.Resume();
    a.Resume();  // ends before the one that was entered later
    expect(a.result == 11 && b.result == 0);
    b.Resume();
    expect(b.result == 22);
  });
}

TEST_CASE("fibers leave nested probed functions in turn") {
  Expect expect;
  constexpr int kFibers = 6;
  WatchEnds({Address(&deep_crossing)}, kRounds, kFibers * 9, 0, [&](int) {
    std::vector<std::unique_ptr<Fiber>> fibers;
    for (int i = 0; i < kFibers; ++i) {
      fibers.push_back(std::make_unique<Fiber>(
          [](Fiber* self) { self->result = deep_crossing(self, 8); }));
    }
    for (int step = 0; step < 10; ++step) {
      for (auto& each : fibers) each->Resume();
    }
    for (auto& each : fibers) expect(each->result == 9);
  });
}

TEST_CASE("a Boost fiber is resumed on another thread") {
  Expect expect;
  WatchEnds({Address(&boost_crossing)}, kRounds, 1, 0, [&](int) {
    long result = 0;
    fiber inside([&](fiber&& outside) {
      result = boost_crossing(&outside, 33);
      return std::move(outside);
    });
    inside = std::move(inside).resume();
    std::thread([&] { inside = std::move(inside).resume(); }).join();
    expect(result == 33);
  });
}

TEST_CASE("a Boost fiber throws on the thread that resumed it") {
  Expect expect;
  WatchEnds({Address(&boost_throwing)}, kRounds, 0, 1, [&](int) {
    bool caught = false;
    fiber inside([&](fiber&& outside) {
      try {
        boost_throwing(&outside);
      } catch (const Torn&) {
        caught = true;
      }
      return std::move(outside);
    });
    inside = std::move(inside).resume();
    std::thread([&] { inside = std::move(inside).resume(); }).join();
    expect(caught);
  });
}

TEST_CASE("a Boost fiber that is given up is unwound") {
  WatchEnds({Address(&boost_crossing)}, kRounds, 0, 1, [&](int) {
    fiber inside([&](fiber&& outside) {
      boost_crossing(&outside, 1);
      return std::move(outside);
    });
    inside = std::move(inside).resume();
  });
}

#if defined(__cpp_impl_coroutine)

struct Task {
  struct promise_type {
    long sum = 0;
    Task get_return_object() {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { throw; }
  };
  std::coroutine_handle<promise_type> handle;
};

Task Counting(long* sum, long steps) {
  for (long i = 0; i < steps; ++i) {
    *sum += i;
    co_await std::suspend_always();
  }
  throw Torn();
}

TEST_CASE("a coroutine whose resume function is probed moves between threads") {
  Expect expect;
  long unused = 0;
  const Task first = Counting(&unused, 1);
  // A coroutine's frame begins with the function that resumes it.
  void* const resume = *static_cast<void**>(first.handle.address());
  constexpr int kSteps = 5;
  WatchEnds({resume}, 3, kSteps, 1, [&](int) {
    long sum = 0;
    const Task task = Counting(&sum, kSteps);
    for (int i = 0; i < kSteps; ++i) {
      std::thread([&] { task.handle.resume(); }).join();
    }
    expect(sum == kSteps * (kSteps - 1) / 2);
    bool caught = false;
    try {
      task.handle.resume();
    } catch (const Torn&) {
      caught = true;
    }
    expect(caught);
    task.handle.destroy();
  });
  first.handle.destroy();
}

#endif

}  // namespace
