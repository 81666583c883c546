// SPDX-License-Identifier: Apache-2.0
//
// Exceptions of Objective-C, and those of C++ through its frames.
#include "flow/foreign.h"

#include "flow/flow.h"

namespace {

thread_local long t_finals;
thread_local long t_destroyed;

struct Counting {
  ~Counting() { ++t_destroyed; }
};

}  // namespace

extern "C" __attribute__((noinline, noclone)) long cxx_throw(long value) {
  if (value > 0) throw value;
  return value;
}

// A frame of C++ with something to clean up above one of Objective-C.
extern "C" __attribute__((noinline, noclone)) long cxx_pass(long depth) {
  const Counting counting;
  return objc_throw(depth) + 1;
}

extern "C" __attribute__((noinline, noclone)) long cxx_finally(long depth) {
  const Counting counting;
  return objc_finally(&cxx_pass, depth, &t_finals) + 1;
}

extern "C" __attribute__((noinline, noclone)) long cxx_rethrow(long depth) {
  return objc_rethrow(&cxx_finally, depth) + 1;
}

namespace flow {
namespace {

constexpr int kRounds = 50;

std::vector<void*> Functions() {
  return {Address(&objc_throw),  Address(&objc_finally), Address(&objc_rethrow),
          Address(&objc_catch),  Address(&cxx_pass),     Address(&cxx_finally),
          Address(&cxx_rethrow), Address(&cxx_throw)};
}

// What threads found wrong.
class Expect {
 public:
  ~Expect() { CHECK(wrong_ == 0); }
  void operator()(bool right) { wrong_ += !right; }

 private:
  std::atomic<int> wrong_{0};
};

TEST_CASE("an object is thrown and caught over frames of two languages") {
  Expect expect;
  // Unwound: 4 of objc_throw, one each of the others but objc_catch.
  WatchEnds(Functions(), kRounds, 1, 9, [&](int) {
    t_finals = t_destroyed = 0;
    expect(objc_catch(&cxx_rethrow, 3) == -8);
    expect(t_finals == 1);
    expect(t_destroyed == 2);
  });
}

TEST_CASE("an object is caught in C++") {
  Expect expect;
  WatchEnds(Functions(), kRounds, 0, 7, [&](int) {
    t_finals = t_destroyed = 0;
    bool caught = false;
    try {
      cxx_finally(3);
    } catch (...) {
      caught = true;
    }
    expect(caught);
    expect(t_finals == 1);
    expect(t_destroyed == 2);
  });
}

TEST_CASE("an object is caught by the caller of who throws it") {
  Expect expect;
  WatchEnds(Functions(), kRounds, 1, 1,
            [&](int) { expect(objc_catch(&objc_throw, 0) == -7); });
}

TEST_CASE("an exception of C++ passes frames of Objective-C") {
  Expect expect;
  // objc_finally and cxx_throw.
  WatchEnds(Functions(), kRounds, 0, 2, [&](int) {
    t_finals = 0;
    long caught = 0;
    try {
      objc_finally(&cxx_throw, 5, &t_finals);
    } catch (long value) {
      caught = value;
    }
    expect(caught == 5);
    expect(t_finals == 1);
  });
}

}  // namespace
}  // namespace flow
