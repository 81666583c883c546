// SPDX-License-Identifier: Apache-2.0
//
// Many activations at once, on one stack or none: recursion, tail calls,
// signals on another stack.
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <atomic>

#include "flow/flow.h"

FLOW_TARGET long deep(long depth) {
  if (depth == 0) return 0;
  const long below = deep(depth - 1);
  FLOW_NO_TAIL_CALL;
  return below + 1;
}

// Even and odd by turns, each a jump to the other.
asm(R"(
  .text
  .globl tail_even, tail_odd, tail_plain
  .type tail_even, @function
tail_even:
  .cfi_startproc
  test %rdi, %rdi
  jz 1f
  dec %rdi
  jmp tail_odd
1:
  mov $1, %eax
  ret
  .cfi_endproc
  .size tail_even, . - tail_even
  .type tail_odd, @function
tail_odd:
  .cfi_startproc
  test %rdi, %rdi
  jz 1f
  dec %rdi
  jmp tail_even
1:
  xor %eax, %eax
  ret
  .cfi_endproc
  .size tail_odd, . - tail_odd
  .type tail_plain, @function
tail_plain:
  .cfi_startproc
  lea 1(%rdi), %rdi
  jmp *%rsi
  .cfi_endproc
  .size tail_plain, . - tail_plain
)");
extern "C" long tail_even(long n);
extern "C" long tail_odd(long n);
// Jumps to `next` with x + 1.
extern "C" long tail_plain(long x, long (*next)(long));

FLOW_TARGET long tail_end(long x) {
  FLOW_NO_TAIL_CALL;
  return x * 2;
}

FLOW_TARGET long tail_throw(long x) {
  FLOW_NO_TAIL_CALL;
  if (x > 0) throw x;
  return x;
}

namespace {

using flow::Address;
using flow::WatchEnds;

struct Expect {
  std::atomic<long> wrong{0};
  void operator()(bool right) { wrong += right ? 0 : 1; }
  ~Expect() { CHECK(wrong == 0); }
};

// Runs `body` on a stack that a million activations fit.
template <typename Body>
void OnBigStack(size_t bytes, const Body& body) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, bytes);
  pthread_t thread;
  const int error = pthread_create(
      &thread, &attributes,
      [](void* data) -> void* {
        (*static_cast<const Body*>(data))();
        return nullptr;
      },
      const_cast<Body*>(&body));
  pthread_attr_destroy(&attributes);
  if (error == 0) pthread_join(thread, nullptr);
}

TEST_CASE("probed functions that jump to each other nest") {
  Expect expect;
  constexpr long kJumps = 300;
  WatchEnds({Address(&tail_even), Address(&tail_odd)}, 5, kJumps + 1, 0,
            [&](int) { expect(tail_even(kJumps) == 1); });
}

TEST_CASE("a probed function jumps to one that is not, and the reverse") {
  Expect expect;
  WatchEnds({Address(&tail_plain)}, 20, 1, 0,
            [&](int) { expect(tail_plain(4, &tail_end) == 10); });
  WatchEnds({Address(&tail_end)}, 20, 1, 0,
            [&](int) { expect(tail_plain(4, &tail_end) == 10); });
}

TEST_CASE("an exception leaves functions that jumped to each other") {
  Expect expect;
  WatchEnds({Address(&tail_plain), Address(&tail_throw)}, 20, 0, 2, [&](int) {
    long caught = 0;
    try {
      tail_plain(4, &tail_throw);
    } catch (const long& x) {
      caught = x;
    }
    expect(caught == 5);
  });
}

std::atomic<long> g_wrong_in_signal;
std::atomic<long> g_signals;

void OnSignal(int) {
  ++g_signals;
  if (deep(30) != 30) ++g_wrong_in_signal;
  try {
    tail_throw(3);
    ++g_wrong_in_signal;
  } catch (const long&) {
  }
}

// A thread that is signalled every 200 us, on a stack of its own.
class Signalled {
 public:
  Signalled() : stack_(256 * 1024) {
    const stack_t alternate = {stack_.data(), 0, stack_.size()};
    sigaltstack(&alternate, nullptr);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event._sigev_un._tid = gettid();
    timer_create(CLOCK_MONOTONIC, &event, &timer_);
    const itimerspec often = {{0, 200'000}, {0, 200'000}};
    timer_settime(timer_, 0, &often, nullptr);
  }
  ~Signalled() {
    timer_delete(timer_);
    stack_t none = {};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  }

 private:
  std::vector<char> stack_;
  timer_t timer_;
};

TEST_CASE("signal handlers on their own stack call, throw and catch") {
  struct sigaction action = {};
  struct sigaction before;
  action.sa_handler = OnSignal;
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  sigaction(SIGUSR1, &action, &before);
  Expect expect;
  g_signals = 0;
  void* const functions[] = {Address(&deep), Address(&tail_throw)};
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    watch_start(kWatchBoth, functions, 2);
    flow::InThreads(threads, [&] {
      const Signalled signalled;
      const long before_these = g_signals;
      for (int i = 0; i < 500 || g_signals < before_these + 20; ++i) {
        if (deep(20) != 20 || tail_throw(-1) != -1) expect(false);
      }
    });
    const Watched ends = watch_stop();
    // Only calls of signals that came inside a handler were missed.
    CHECK(ends.entered == ends.returned + ends.unwound);
    CHECK(ends.unwound > 0);
    CHECK(ends.out == 0);
  }
  sigaction(SIGUSR1, &before, nullptr);
  CHECK(g_signals > 0);
  CHECK(g_wrong_in_signal == 0);
}

// The last test: a pool that has grown so large is slow to look through.
// uftrace records 1,024 levels unless told otherwise; kernel uretprobes 64.
TEST_CASE(
    "recursion a million deep misses nothing, as uftrace does past 1024") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    const long depth = threads == 1 ? 1'000'000 : 200'000 / threads;
    Expect expect;
    void* const functions[] = {Address(&deep)};
    watch_start(kWatchReturn, functions, 1);
    flow::InThreads(threads, [&] {
      long result = 0;
      OnBigStack(static_cast<size_t>(depth) * 128 + (1 << 20),
                 [&] { result = deep(depth); });
      expect(result == depth);
    });
    const Watched ends = watch_stop();
    flow::CheckEnds(kWatchReturn, ends);
    CHECK(ends.returned == threads * (depth + 1));
  }
}

}  // namespace
