// SPDX-License-Identifier: Apache-2.0
//
// Hooked frames and everything that can happen to one, with each storage and 1,
// 2 and 8 threads. ~Hooking sees that entries equal endings and that no
// instance is out. Unwinding is in rethook_unwind_test.cc.
#include <doctest/doctest.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "hooking.h"
#include "rethook/slots.h"
#include "retprobe/return_probe.h"
#include "signal_storm.h"

TARGET long recursive(long depth) {
  RETPROBE_TEST_ENTER();
  if (depth == 0) return 0;
  long below = recursive(depth - 1);
  asm volatile("" : "+r"(below));  // no loop in its place
  return below + 1;
}

// What the last of a chain of tail calls finds its return address to be.
thread_local void* t_returns_to;

TARGET long tail_even(long n);
TARGET long tail_odd(long n) {
  RETPROBE_TEST_ENTER();
  return n == 0 ? 1 : tail_even(n - 1);
}
TARGET long tail_even(long n) {
  RETPROBE_TEST_ENTER();
  if (n == 0) {
    t_returns_to =
        retprobe::Rethook::FindReturnAddress(__builtin_return_address(0));
  }
  return n == 0 ? 0 : tail_odd(n - 1);
}
TARGET long jumper(long depth, jmp_buf buffer) {
  RETPROBE_TEST_ENTER();
  if (depth < 0) return 0;
  if (depth == 0) longjmp(buffer, 1);
  long below = jumper(depth - 1, buffer);
  asm volatile("" : "+r"(below));
  return below + 1;
}

TARGET long in_storm(long x) {
  RETPROBE_TEST_ENTER();
  return x + 1;
}

namespace retprobe {
namespace {

using test::ForStoragesAndCounts;
using test::ForStoragesAndThreads;
using test::Hooking;
using test::Storage;

TEST_CASE(
    "hooked functions nest, recurse and call each other in tail position") {
  std::atomic<int> wrong{0};
  // A thread's shadow stack has 64 entries: further ones are missed.
  ForStoragesAndThreads([&](Hooking&) {
    for (int i = 0; i < 20; ++i) {
      wrong += recursive(40) != 40;
      wrong += tail_odd(40) != 1;
      wrong += tail_even(41) != 1;
      wrong += tail_even(40) != 0;
      wrong += RecordAt(reinterpret_cast<uintptr_t>(t_returns_to)) != nullptr;
      wrong += recursive(1000) != 1000;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("a million hooked frames on one stack all return") {
  Hooking hooking(Storage::kPool);
  constexpr size_t kStack = size_t{1} << 28;
  void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(stack != MAP_FAILED);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  REQUIRE(pthread_attr_setstack(&attributes, stack, kStack) == 0);
  pthread_t thread;
  REQUIRE(pthread_create(
              &thread, &attributes,
              [](void*) { return reinterpret_cast<void*>(recursive(999999)); },
              nullptr) == 0);
  void* result;
  pthread_join(thread, &result);
  pthread_attr_destroy(&attributes);
  munmap(stack, kStack);
  CHECK(reinterpret_cast<long>(result) == 999999);
  CHECK(hooking.returned() == 1000000);
  CHECK(hooking.rethook().nmissed().total() == 0);
}

TEST_CASE("hooked functions called in a storm of signals end exactly once") {
  std::atomic<long> calls{0};
  std::atomic<long> wrong{0};
  static std::atomic<long> in_signal;
  in_signal = 0;
  test::OnSignal(SIGRTMIN, [](int) {
    ++in_signal;
    in_storm(1);
  });
  // malloc cannot be called in signal handlers.
  for (const Storage storage : {Storage::kPool, Storage::kShadowStack}) {
    for (const int count : {1, 2, 8}) {
      CAPTURE(test::NameOf(storage));
      CAPTURE(count);
      calls = in_signal = 0;
      Hooking hooking(storage);
      InNewThreads(count, [&] {
        wrong += in_storm(1) != 2;  // maps the shadow stack
        ++calls;
        const test::SignalStorm storm(50000);
        for (long n = 0; n < 100000 / count; ++n, ++calls) {
          wrong += in_storm(n) != n + 1;
        }
      });
      CHECK(wrong == 0);
      CHECK(hooking.entries() +
                static_cast<long>(hooking.rethook().nmissed().total()) ==
            calls + in_signal);
      CHECK(hooking.entries() == hooking.returned());
    }
  }
}

__attribute__((noinline)) bool JumpsOver(long depth) {
  jmp_buf buffer;
  if (setjmp(buffer) != 0) return true;
  jumper(depth, buffer);
  return false;
}

TEST_CASE("longjmp ends the hooked activations that it leaves") {
  // It takes no probe.
  REQUIRE(ReturnProbe::List().empty());
  std::atomic<int> wrong{0};
  ForStoragesAndThreads([&](Hooking& hooking) {
    wrong += !JumpsOver(1) || !JumpsOver(50);
    wrong += hooking.abandoned() < 53;
  });
  CHECK(wrong == 0);
}

// Two fibers, each inside a hooked function while the other runs.
struct Fibers {
  ucontext_t main, first, second;
  std::vector<char> stacks[2];
  int order[4];
  int steps = 0;
};
thread_local Fibers* t_fibers;

}  // namespace
}  // namespace retprobe

TARGET long crossing(long which) {
  RETPROBE_TEST_ENTER();
  auto* fibers = retprobe::t_fibers;
  fibers->order[fibers->steps++] = static_cast<int>(which);
  swapcontext(which == 1 ? &fibers->first : &fibers->second, &fibers->main);
  fibers->order[fibers->steps++] = static_cast<int>(which);
  return which * 11;
}

namespace retprobe {
namespace {

void RunFiber(int which) {
  Fibers* fibers = t_fibers;
  if (crossing(which) != which * 11) fibers->steps = 100;
  swapcontext(which == 1 ? &fibers->first : &fibers->second, &fibers->main);
}

// Makes one of the two that this thread is going to run.
void Prepare(Fibers& fibers, int which) {
  t_fibers = &fibers;
  ucontext_t* const context = which == 1 ? &fibers.first : &fibers.second;
  std::vector<char>& stack = fibers.stacks[which - 1];
  stack.resize(65536);
  getcontext(context);
  context->uc_stack.ss_sp = stack.data();
  context->uc_stack.ss_size = stack.size();
  context->uc_link = nullptr;
  makecontext(context, reinterpret_cast<void (*)()>(&RunFiber), 1, which);
}

TEST_CASE("hooked frames of fibers that cross return each to its own caller") {
  std::atomic<int> wrong{0};
  ForStoragesAndThreads([&](Hooking&) {
    for (int round = 0; round < 20; ++round) {
      Fibers fibers;
      Prepare(fibers, 1);
      Prepare(fibers, 2);
      // In by the first, in by the second, out by the first, out by the second:
      // not the order of a stack.
      for (ucontext_t* next :
           {&fibers.first, &fibers.second, &fibers.first, &fibers.second}) {
        swapcontext(&fibers.main, next);
      }
      const int expected[] = {1, 2, 1, 2};
      wrong += fibers.steps != 4 ||
               !std::equal(expected, expected + 4, fibers.order);
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("a fiber that was entered in one thread returns in another") {
  ForStoragesAndCounts([&](Storage storage, int count) {
    Hooking hooking(storage);
    std::atomic<int> wrong{0};
    std::vector<Fibers> all(count);
    InNewThreads(count, [&](int i) {
      Prepare(all[i], 1);
      swapcontext(&all[i].main, &all[i].first);
    });
    CHECK(hooking.rethook().in_use() == static_cast<size_t>(count));
    InNewThreads(count, [&](int i) {
      t_fibers = &all[i];
      swapcontext(&all[i].main, &all[i].first);
      wrong += all[i].steps != 2;
    });
    CHECK(wrong == 0);
    CHECK(hooking.returned() == count);
  });
}

}  // namespace
}  // namespace retprobe
