// SPDX-License-Identifier: Apache-2.0
//
// Frames of probed functions that a jump leaves.
#include <doctest/doctest.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <memory>

#include "ends.h"

// glibc declares it only to _FORTIFY_SOURCE.
extern "C" [[noreturn]] void __longjmp_chk(jmp_buf env, int value);

namespace {

using Jump = void (*)(jmp_buf, int);

}  // namespace

// `depth` probed frames, then the jump.
TARGET long jumper(long depth, Jump jump, jmp_buf* to) {
  if (depth == 1) {
    jump(*to, 7);
    return 0;
  }
  const long below = jumper(depth - 1, jump, to);
  asm volatile("");
  return below + 1;
}

namespace {

// What a thread's signal handler does.
thread_local sigjmp_buf g_home;
thread_local long g_handler_depth;

void JumpFromHandler(int) { jumper(g_handler_depth, &longjmp, &g_home); }

}  // namespace

// `depth` probed frames, then a signal.
TARGET long raiser(long depth) {
  const long below = depth == 1 ? raise(SIGUSR1) : raiser(depth - 1);
  asm volatile("");
  return below + 1;
}

// `depth` probed frames; in the innermost, `switch_away(fiber)` `times` times.
TARGET long in_fiber(long depth, long times, void (*switch_away)(void*),
                     void* fiber) {
  long below = 0;
  if (depth > 1) {
    below = in_fiber(depth - 1, times, switch_away, fiber);
  } else {
    for (long i = 0; i < times; ++i) switch_away(fiber);
  }
  asm volatile("");
  return below + 1;
}

namespace retprobe {
namespace {

const Jump kJumps[] = {&longjmp, &_longjmp,
                       +[](jmp_buf to, int value) { siglongjmp(to, value); },
                       &__longjmp_chk};

// In a function of its own: what a function that calls setjmp changes
// afterwards is lost with the jump.
__attribute__((noinline)) bool JumpsBack(long depth, Jump jump) {
  jmp_buf here;
  if (sigsetjmp(here, 0) == 7) return true;
  jumper(depth, jump, &here);
  return false;
}

long JumpOver(long depth, Jump jump, long times) {
  long jumps = 0;
  for (long i = 0; i < times; ++i) jumps += JumpsBack(depth, jump) ? 1 : 0;
  return jumps;
}

TEST_CASE("every longjmp ends the activations that it leaves") {
  for (const int threads : {1, 2, 8}) {
    for (const Jump jump : kJumps) {
      for (const long depth : {1L, 10L, 1000L}) {
        CAPTURE(threads);
        CAPTURE(depth);
        Ends ends;
        const ReturnProbe probe = Attached(&jumper, ends.Options());
        const long times = depth < 1000 ? 100 : 3;
        InThreads(threads,
                  [&] { CHECK(JumpOver(depth, jump, times) == times); });
        CHECK(ends.entered == threads * times * depth);
        CHECK(ends.abandoned == ends.entered);
        CHECK(ends.returned + ends.unwound == 0);
        CHECK(Out() == 0);
      }
    }
  }
}

constexpr size_t kStackSize = 64 * 1024;

// Leaves `depth` probed frames on the main stack and `in_handler` on the signal
// stack at `memory`, if any, or on top of the others.
__attribute__((noinline)) bool JumpsOutOfHandler(long depth, long in_handler,
                                                 void* memory) {
  stack_t stack = {memory, memory == nullptr ? SS_DISABLE : 0, kStackSize};
  sigaltstack(&stack, nullptr);
  g_handler_depth = in_handler;
  bool jumped = false;
  if (sigsetjmp(g_home, 1) == 7) {
    jumped = true;
  } else {
    raiser(depth);
  }
  stack.ss_flags = SS_DISABLE;
  CHECK(sigaltstack(&stack, nullptr) == 0);
  return jumped;
}

bool JumpsOutOfHandlerBelow(long depth, long in_handler) {
  char memory[kStackSize];
  return JumpsOutOfHandler(depth, in_handler, memory);
}

TEST_CASE("a jump out of a signal handler leaves the frames of both stacks") {
  struct sigaction action = {};
  action.sa_handler = &JumpFromHandler;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  for (const int threads : {1, 2, 8}) {
    for (const long depth : {1L, 300L}) {
      Ends ends;
      const ReturnProbe a = Attached(&jumper, ends.Options());
      const ReturnProbe b = Attached(&raiser, ends.Options());
      InThreads(threads, [&] {
        const auto memory = std::make_unique<char[]>(kStackSize);
        for (int i = 0; i < 20; ++i) {
          CHECK(JumpsOutOfHandler(depth, 3, nullptr));
          CHECK(JumpsOutOfHandler(depth, 3, memory.get()));
          CHECK(JumpsOutOfHandlerBelow(depth, 3));
        }
      });
      CHECK(ends.entered == threads * 60 * (depth + 3));
      CHECK(ends.abandoned == ends.entered);
      CHECK(Out() == 0);
    }
  }
}

// A stack of its own, left and entered with _longjmp.
struct Fiber {
  ucontext_t context;
  jmp_buf home;
  jmp_buf inside;
  long result = 0;
  bool done = false;

  static void SwitchAway(void* fiber) {
    auto* self = static_cast<Fiber*>(fiber);
    if (_setjmp(self->inside) == 0) _longjmp(self->home, 1);
  }

  void Run() {
    result = in_fiber(5, 10, &SwitchAway, this);
    done = true;
    _longjmp(home, 1);
  }

  static void Main(unsigned high, unsigned low) {
    reinterpret_cast<Fiber*>(uintptr_t{high} << 32 | low)->Run();
  }

  __attribute__((noinline)) void Start(char* stack) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = kStackSize;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&context, reinterpret_cast<void (*)()>(&Main), 2,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
    if (_setjmp(home) == 0) setcontext(&context);
  }

  __attribute__((noinline)) void Resume() {
    if (_setjmp(home) == 0) _longjmp(inside, 1);
  }
};

// Resumed from deeper and deeper probed frames of the thread's own stack.
void ResumeBoth(void* fibers) {
  for (Fiber *fiber = static_cast<Fiber*>(fibers), *end = fiber + 2;
       fiber != end; ++fiber) {
    if (!fiber->done) fiber->Resume();
  }
}

void SwitchFibers(char* memory) {
  Fiber fibers[2];
  fibers[0].Start(memory);
  fibers[1].Start(memory + kStackSize);
  for (long depth = 1; !fibers[0].done || !fibers[1].done; ++depth) {
    CHECK(in_fiber(depth, 2, &ResumeBoth, fibers) == depth);
  }
  CHECK(fibers[0].result == 5);
  CHECK(fibers[1].result == 5);
}

TEST_CASE("longjmp from stack to stack ends nothing") {
  for (const int threads : {1, 2, 8}) {
    Ends ends;
    const ReturnProbe probe = Attached(&in_fiber, ends.Options());
    InThreads(threads, [] {
      const auto heap = std::make_unique<char[]>(2 * kStackSize);
      SwitchFibers(heap.get());
      char local[2 * kStackSize];
      SwitchFibers(local);
    });
    CHECK(ends.entered > 0);
    CHECK(ends.returned == ends.entered);
    CHECK(ends.abandoned == 0);
    CHECK(Out() == 0);
  }
}

// A coroutine made by the trick with sigaltstack (R. Engelschall, Portable
// Multithreading, 2000): the handler's frame is left to be jumped into.
thread_local Fiber* g_made;

void BecomeFiber(int) {
  Fiber* const self = g_made;
  if (sigsetjmp(self->inside, 0) == 0) return;
  self->Run();
}

void SwitchSignalFibers(char* memory) {
  Fiber fibers[2];
  for (Fiber& fiber : fibers) {
    stack_t before;
    stack_t stack = {memory + kStackSize * (&fiber - fibers), 0, kStackSize};
    sigaltstack(&stack, &before);
    g_made = &fiber;
    raise(SIGUSR2);
    sigaltstack(&before, nullptr);
  }
  for (long depth = 1; !fibers[0].done || !fibers[1].done; ++depth) {
    CHECK(in_fiber(depth, 2, &ResumeBoth, fibers) == depth);
  }
}

TEST_CASE("nor does it between coroutines made on signal stacks") {
  struct sigaction action = {};
  action.sa_handler = &BecomeFiber;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR2, &action, nullptr);
  for (const int threads : {1, 2, 8}) {
    Ends ends;
    const ReturnProbe probe = Attached(&in_fiber, ends.Options());
    InThreads(threads, [] {
      const auto heap = std::make_unique<char[]>(2 * kStackSize);
      SwitchSignalFibers(heap.get());
      char local[2 * kStackSize];
      SwitchSignalFibers(local);
    });
    CHECK(ends.entered > 0);
    CHECK(ends.returned == ends.entered);
    CHECK(ends.abandoned == 0);
    CHECK(Out() == 0);
  }
}

TEST_CASE("a stack that is given up ends what is on it") {
  for (const int threads : {1, 2, 8}) {
    Ends ends;
    const ReturnProbe probe = Attached(&in_fiber, ends.Options());
    std::atomic<size_t> abandoned = 0;
    InThreads(threads, [&] {
      const auto heap = std::make_unique<char[]>(2 * kStackSize);
      char* const middle = heap.get() + kStackSize;
      Fiber fibers[2];
      fibers[0].Start(heap.get());
      fibers[1].Start(middle);
      // While calls come and go on this stack.
      in_fiber(3, 1, &ResumeBoth, fibers);
      abandoned += AbandonFrames(heap.get(), middle);
      fibers[0].done = true;
      in_fiber(3, 1, &ResumeBoth, fibers);
      abandoned += AbandonFrames(heap.get(), middle + kStackSize);
      abandoned += AbandonFrames(heap.get(), middle + kStackSize);
    });
    CHECK(abandoned == static_cast<size_t>(threads) * 10);
    CHECK(ends.abandoned == threads * 10);
    CHECK(ends.entered == ends.ended());
    CHECK(Out() == 0);
  }
}

void ExitByItself(void*) { syscall(SYS_exit, 0); }

TEST_CASE("a thread that ends by itself leaves its stack to be given up") {
  constexpr size_t kThreadStack = 256 * 1024;
  for (const int threads : {1, 2, 8}) {
    Ends ends;
    const ReturnProbe probe = Attached(&in_fiber, ends.Options());
    const auto memory = std::make_unique<char[]>(threads * kThreadStack);
    for (int i = 0; i < threads; ++i) {
      pthread_attr_t attributes;
      pthread_attr_init(&attributes);
      pthread_attr_setstack(&attributes, memory.get() + i * kThreadStack,
                            kThreadStack);
      pthread_t thread;
      pthread_create(
          &thread, &attributes,
          [](void*) -> void* {
            in_fiber(7, 1, &ExitByItself, nullptr);
            return nullptr;
          },
          nullptr);
      pthread_join(thread, nullptr);
    }
    CHECK(Out() == static_cast<size_t>(threads) * 7);
    CHECK(AbandonFrames(memory.get(), memory.get() + threads * kThreadStack) ==
          static_cast<size_t>(threads) * 7);
    CHECK(ends.abandoned == threads * 7);
    CHECK(ends.entered == ends.ended());
    CHECK(Out() == 0);
  }
}

}  // namespace
}  // namespace retprobe
