// SPDX-License-Identifier: Apache-2.0
//
// Exceptions through probed frames. Compiled once and linked with one unwinder
// after another; with libc++ compiled again.
#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>

#include "flow/flow.h"
#include "flow/library.h"

namespace {

std::atomic<long> g_destroyed;
struct Local {
  ~Local() { ++g_destroyed; }
};

}  // namespace

FLOW_TARGET long thrower(long x) {
  FLOW_NO_TAIL_CALL;
  if (x >= 0) throw std::runtime_error(std::to_string(x));
  return x;
}

FLOW_TARGET long bare_pass(long depth) {  // a frame without a destructor
  const long result = depth == 0 ? thrower(9) : bare_pass(depth - 1);
  FLOW_NO_TAIL_CALL;
  return result + 1;
}

FLOW_TARGET long local_pass(long depth) {
  Local local;
  const long result = depth == 0 ? thrower(9) : local_pass(depth - 1);
  FLOW_NO_TAIL_CALL;
  return result + 1;
}

FLOW_TARGET long catcher(long x) {  // catches what comes through itself
  try {
    return thrower(x);
  } catch (const std::runtime_error& e) {
    return std::stol(e.what()) + 100;
  }
}

FLOW_TARGET long rethrower(long x) {
  try {
    return thrower(x) + 1;
  } catch (const std::exception&) {
    throw;
  }
}

FLOW_TARGET long translator(long x) {  // throws another one while handling
  try {
    return thrower(x) + 1;
  } catch (const std::exception& e) {
    throw std::logic_error(std::string("was ") + e.what());
  }
}

namespace {

// Throws and catches while an exception unwinds its frame.
struct Nested {
  long depth;
  explicit Nested(long d) : depth(d) {}
  ~Nested();
};

}  // namespace

FLOW_TARGET long nested_unwinding(long depth) {
  Nested nested(depth);
  const long result = thrower(depth);
  FLOW_NO_TAIL_CALL;
  return result;
}

Nested::~Nested() {
  ++g_destroyed;
  if (depth == 0) return;
  try {
    nested_unwinding(depth - 1);
  } catch (const std::runtime_error& e) {
    if (e.what() == std::to_string(depth - 1)) g_destroyed += 1000;
  }
}

namespace {

using flow::Address;
using flow::Watch;
using flow::WatchEnds;

constexpr int kRounds = 8;

template <typename F>
std::string Caught(const F& call) {
  try {
    call();
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "something";
  }
  return "";
}

// doctest's own checks are not for threads: counted here, checked behind.
struct Expect {
  std::atomic<long> wrong{0};
  void operator()(bool right) { wrong += right ? 0 : 1; }
  ~Expect() { CHECK(wrong == 0); }
};

TEST_CASE("an exception reaches the direct caller") {
  Expect expect;
  WatchEnds({Address(&thrower)}, kRounds, 1, 1, [&](int) {
    expect(thrower(-1) == -1);
    expect(Caught([] { thrower(5); }) == "5");
  });
}

TEST_CASE("an exception is caught in the probed function that it reaches") {
  Expect expect;
  WatchEnds({Address(&thrower), Address(&catcher)}, kRounds, 1, 1,
            [&](int) { expect(catcher(5) == 105); });
}

TEST_CASE("an exception passes many frames") {
  Expect expect;
  WatchEnds({Address(&thrower), Address(&bare_pass)}, kRounds, 0, 42,
            [&](int) { expect(Caught([] { bare_pass(40); }) == "9"); });
  g_destroyed = 0;
  WatchEnds({Address(&thrower), Address(&local_pass)}, kRounds, 0, 42,
            [&](int) { expect(Caught([] { local_pass(40); }) == "9"); });
  CHECK(g_destroyed == 41 * kRounds * (1 + 2 + 8) * kWatchKinds);
}

TEST_CASE("an exception is rethrown and translated") {
  Expect expect;
  WatchEnds({Address(&thrower), Address(&rethrower), Address(&translator)},
            kRounds, 0, 4, [&](int) {
              expect(Caught([] { rethrower(5); }) == "5");
              expect(Caught([] { translator(6); }) == "was 6");
            });
}

TEST_CASE("an exception is kept and thrown again") {
  Expect expect;
  WatchEnds({Address(&thrower), Address(&rethrower)}, kRounds, 0, 2, [&](int) {
    std::exception_ptr kept;
    try {
      rethrower(7);
    } catch (...) {
      kept = std::current_exception();
    }
    expect(Caught([&] { std::rethrow_exception(kept); }) == "7");
  });
}

TEST_CASE("destructors throw and catch while their frames are unwound") {
  Expect expect;
  g_destroyed = 0;
  WatchEnds({Address(&thrower), Address(&nested_unwinding)}, kRounds, 0, 10,
            [&](int) { expect(Caught([] { nested_unwinding(4); }) == "4"); });
  CHECK(g_destroyed == (5 + 4 * 1000) * kRounds * (1 + 2 + 8) * kWatchKinds);
}

TEST_CASE("a foreign exception passes and is deleted") {
  Expect expect;
  library_foreign_deleted = library_destroyed = 0;
  WatchEnds({Address(&library_raise_foreign), Address(&library_pass)}, kRounds,
            0, 2, [&](int) {
              expect(Caught([] { library_pass(&library_raise_foreign, 1); }) ==
                     "something");
            });
  const long times = kRounds * (1 + 2 + 8) * kWatchKinds;
  CHECK(library_foreign_deleted == times);
  CHECK(library_destroyed == times);
}

TEST_CASE("an exception crosses shared libraries both ways") {
  Expect expect;
  library_destroyed = 0;
  WatchEnds({Address(&thrower), Address(&library_pass), Address(&catcher),
             Address(&library_throw)},
            kRounds, 3, 4, [&](int) {
              expect(Caught([] { library_pass(&thrower, 3); }) == "3");
              expect(library_pass(&catcher, 3) == 104);
              expect(Caught([] { library_throw(1); }) == "library");
              expect(library_throw(-1) == -1);
            });
  CHECK(library_destroyed == 2 * kRounds * (1 + 2 + 8) * kWatchKinds);
}

// As frida-gum silently loses the exit of (its entries are reaped by stack
// pointer at the next event), and XRay: 4 entries, 1 exit.
TEST_CASE("every frame that an exception leaves has its exit told") {
  Expect expect;
  Watch(
      {Address(&thrower)}, 1,
      [&](int) {
        thrower(-1);
        for (int i = 0; i < 3; ++i) Caught([] { thrower(1); });
      },
      [](WatchKind kind, const Watched& ends, long times) {
        if (kind != kWatchBoth) return;
        CHECK(ends.entered == 4 * times);
        CHECK(ends.returned + ends.unwound == 4 * times);
      });
}

}  // namespace
