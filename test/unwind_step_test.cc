// SPDX-License-Identifier: Apache-2.0
//
// A signal may come at any instruction: every unwinder must find its way from
// there to the caller of the probed function.
#include <doctest/doctest.h>

#include <barrier>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "flow/stepper.h"
#include "probe/registry.h"
#include "rethook/guard.h"
#include "rethook/trampoline.h"
#include "retprobe/return_probe.h"

// stepped.S
extern "C" long step_push(long x);
extern "C" long step_call(long x);
extern "C" long step_narrow(long x);
extern "C" long step_wide(long x);
extern "C" long step_wider(long x);

extern "C" __attribute__((noinline, noclone)) long step_throw(long x) {
  if (x > 0) throw std::runtime_error("stepped");
  return x;
}

extern "C" __attribute__((noinline, noclone)) void step_inside(
    const std::function<void()>* body) {
  (*body)();
  asm volatile("");
}

extern "C" __attribute__((noinline, noclone)) long step_nested(long depth) {
  if (depth == 0) return 0;
  long below = step_nested(depth - 1);
  asm volatile("" : "+r"(below));
  return below + 1;
}

namespace retprobe::test {
namespace {

using Options = std::vector<ReturnProbeOptions>;

std::vector<ReturnProbe> AttachAll(void* function, Options options) {
  std::vector<ReturnProbe> probes;
  for (ReturnProbeOptions& each : options) {
    auto probe = ReturnProbe::Attach(function, std::move(each));
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
    probes.push_back(*std::move(probe));
  }
  return probes;
}

void Report(const Stepper& stepper) {
  for (const std::string& line : stepper.wrong()) FAIL_CHECK(line);
  CHECK(stepper.right() > 0);
  CHECK(Registry::Get().InstancesInUse() == 0);
}

void StepThrough(long (*function)(long), long argument, long result,
                 Options options, int depth = 1) {
  void* const address = reinterpret_cast<void*>(function);
  const auto probes = AttachAll(address, std::move(options));
  Stepper stepper;
  long got = 0;
  stepper.Step(
      address, [&] { got = function(argument); }, depth);
  CHECK(got == result);
  Report(stepper);
}

// Handlers of every kind that the trampoline makes a difference between.
ReturnProbeOptions Leaf() {  // calls nothing, few registers
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext& context) noexcept {
    *static_cast<char*>(context.data()) = 1;
  };
  options.data_size = 16;
  return options;
}

ReturnProbeOptions LeafSse() {
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    asm volatile("pcmpeqd %%xmm0, %%xmm0" ::: "memory");
  };
  return options;
}

ReturnProbeOptions Sse(bool many) {
  ReturnProbeOptions options;
  if (many) {
    options.return_handler = [](ReturnContext&) noexcept {
      asm volatile("pcmpeqd %%xmm9, %%xmm9\n xorl %%r8d, %%r8d" ::: "r8");
    };
  } else {
    options.return_handler = [](ReturnContext&) noexcept {
      asm volatile("pcmpeqd %%xmm1, %%xmm1\n xorl %%r8d, %%r8d" ::: "r8");
    };
    options.entry_handler = [](EntryContext&) noexcept {
      asm volatile("pcmpeqd %%xmm1, %%xmm1" ::: "memory");
      return true;
    };
  }
  return options;
}

void (*volatile g_anything)() = [] {};

ReturnProbeOptions Anything(bool entry, bool accept = true) {
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept { g_anything(); };
  if (entry && accept) {
    options.entry_handler = [](EntryContext&) noexcept {
      g_anything();
      return true;
    };
  } else if (entry) {
    options.entry_handler = [](EntryContext&) noexcept {
      g_anything();
      return false;
    };
  }
  return options;
}

ReturnProbeOptions General(bool entry) {  // general registers only
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    asm volatile("xorl %%r8d, %%r8d" ::: "r8");
  };
  if (entry) {
    options.entry_handler = [](EntryContext&) noexcept { return true; };
  }
  return options;
}

template <typename... Each>
Options Of(Each&&... each) {
  Options options;
  (options.push_back(std::move(each)), ...);
  return options;
}

struct Kind {
  const char* name;
  Options (*make)();
};
const Kind kKinds[] = {
    {"no handlers", [] { return Options(1); }},
    {"leaf return handler", [] { return Of(Leaf()); }},
    {"leaf return handler, SSE", [] { return Of(LeafSse()); }},
    {"SSE, four registers", [] { return Of(Sse(false)); }},
    {"SSE, all registers", [] { return Of(Sse(true)); }},
    {"SSE, two probes", [] { return Of(Sse(true), Sse(false)); }},
    {"return handler", [] { return Of(General(false)); }},
    {"entry and return handler", [] { return Of(General(true)); }},
    {"handlers that use any register", [] { return Of(Anything(true)); }},
    {"declined", [] { return Of(Anything(true, false)); }},
    {"several probes",
     [] { return Of(General(true), Leaf(), General(false)); }},
    {"several probes, any register",
     [] { return Of(Anything(true), Leaf(), Anything(false)); }},
};

TEST_CASE("every instruction around a probed call is unwound") {
  for (const Kind& kind : kKinds) {
    CAPTURE(kind.name);
    StepThrough(&step_push, 1, 2, kind.make());
    StepThrough(&step_call, 1, 2, kind.make());
  }
}

// What handlers do to vector registers, as far as the trampoline makes a
// difference.
enum Use { kNothing, kXmm1, kXmm9, kZmm1, kZmm9, kZmm20, kUses };

template <int kUse>
void UseVectors() {
  if constexpr (kUse == kXmm1) asm volatile("pcmpeqd %xmm1, %xmm1");
  if constexpr (kUse == kXmm9) asm volatile("pcmpeqd %xmm9, %xmm9");
  if constexpr (kUse == kZmm1) {
    asm volatile("vpternlogd $0xff, %zmm1, %zmm1, %zmm1");
  }
  if constexpr (kUse == kZmm9) {
    asm volatile("vpternlogd $0xff, %zmm9, %zmm9, %zmm9");
  }
  if constexpr (kUse == kZmm20) {
    asm volatile("vpternlogd $0xff, %zmm20, %zmm20, %zmm20");
  }
}

// With handlers that call nothing and change few registers (`leaf`), or not.
template <int kUse, bool kLeaf, bool kAccept>
ReturnProbeOptions Using(bool entry) {
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    UseVectors<kUse>();
    if constexpr (!kLeaf) asm volatile("xorl %%r8d, %%r8d" ::: "r8");
  };
  if (!entry) return options;
  options.entry_handler = [](EntryContext&) noexcept {
    UseVectors<kUse>();
    if constexpr (!kLeaf) asm volatile("xorl %%r8d, %%r8d" ::: "r8");
    return kAccept;
  };
  return options;
}

// Under `options`, with vector registers in every state.
void StepVectors(Options options) {
  const auto address = reinterpret_cast<void*>(&step_push);
  const auto probes = AttachAll(address, std::move(options));
  Stepper stepper;
  long sum = 0;
  const std::vector<long (*)(long)> calls = {&step_narrow, &step_wide,
                                             &step_wider};
  for (long (*call)(long) : calls) {
    stepper.Step(address, [&] { sum += call(1); });
  }
  CHECK(sum == 6);
  Report(stepper);
}

ReturnProbe* g_dying;

// With a probe that is detached before the function returns.
void StepDying(ReturnProbeOptions options) {
  options.entry_handler = [](EntryContext&) noexcept {
    Stepper::Pause();
    g_dying->Detach();
    Stepper::Pause();
    return true;
  };
  const auto address = reinterpret_cast<void*>(&step_push);
  auto probes = AttachAll(address, Of(std::move(options)));
  g_dying = &probes[0];
  Stepper stepper;
  long result = 0;
  stepper.Step(address, [&] { result = step_push(1); });
  CHECK(result == 2);
  Report(stepper);
}

template <int kUse, bool kLeaf>
void StepUse() {
  CAPTURE(kUse);
  CAPTURE(kLeaf);
  StepVectors(Of(Using<kUse, kLeaf, true>(false)));
  StepVectors(Of(Using<kUse, kLeaf, true>(true)));
  StepVectors(Of(Using<kUse, kLeaf, false>(true)));
  StepVectors(
      Of(Using<kUse, kLeaf, true>(true), Using<kUse, kLeaf, true>(false)));
  StepDying(Using<kUse, kLeaf, true>(false));
}

template <int kUse = 0>
void StepUses() {
  if constexpr (kUse < kUses) {
    StepUse<kUse, false>();
    StepUse<kUse, true>();
    StepUses<kUse + 1>();
  }
}

TEST_CASE("vector registers of every machine are kept unwindably") {
  const int32_t level = retprobe_vector_level;
  // Without rseq nothing of this is different.
  if (level < 3 || !RseqAvailable()) return;
  StepUses();
  for (int32_t lower = 0; lower <= level; ++lower) {
    CAPTURE(lower);
    retprobe_vector_level = lower;
    StepVectors(Of(Anything(false)));
    StepVectors(Of(Anything(true)));
    StepVectors(Of(Anything(true, false)));
    StepVectors(Of(Anything(true), Anything(true)));
    StepDying(Anything(false));
  }
  retprobe_vector_level = level;
}

TEST_CASE("magazines that are empty, full or in between are unwound from") {
  // Deeper than a magazine: the slow ways in and out, and the array's.
  constexpr int kDepth = 200;
  StepThrough(&step_nested, kDepth, kDepth, Options(1), kDepth);
}

TEST_CASE("a disabled probe is unwound from") {
  Options options(1);
  options[0].enabled = false;
  StepThrough(&step_push, 1, 2, std::move(options));
}

TEST_CASE("a call of who shares its thread area is unwound from") {
  for (const uint32_t child : {1, 0}) {
    retprobe_guard.unseen = retprobe_guard.beside = 1;
    retprobe_guard.child = child;
    StepThrough(&step_push, 1, 2, Options(1));
    CHECK(retprobe_guard.unseen == child);
    CHECK(retprobe_guard.beside == child);
    retprobe_guard.unseen = retprobe_guard.beside = 0;
  }
}

TEST_CASE("a call that a handler makes is unwound from") {
  static long inner;
  const auto probes =
      AttachAll(reinterpret_cast<void*>(&step_call), Of(Leaf()));
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    inner = step_call(6);
  };
  StepThrough(&step_push, 1, 2, Of(std::move(options)));
  CHECK(inner == 7);
  CHECK(probes[0].nmissed().recursion > 0);
}

TEST_CASE("the landing pad of an exception is unwound from") {
  const auto address = reinterpret_cast<void*>(&step_throw);
  const auto probes = AttachAll(address, Of(Anything(true)));
  // The unwinder's own functions: one of them has a stub, too.
  constexpr int kUnwinder = 5;
  Stepper stepper;
  bool caught = false;
  stepper.Step(
      address,
      [&] {
        try {
          step_throw(1);
        } catch (const std::exception&) {
          caught = true;
        }
      },
      kUnwinder);
  CHECK(caught);
  Report(stepper);
}

TEST_CASE("threads take turns while others are inside probed functions") {
  for (const int count : {2, 8}) {
    Stepper stepper;
    long sum = 0;  // under the stepper's lock
    const auto push = reinterpret_cast<void*>(&step_push);
    const auto probes = AttachAll(push, Of(General(true)));
    const auto outer =
        AttachAll(reinterpret_cast<void*>(&step_inside), Of(General(true)));
    // Nobody enters or leaves while another steps: that would use the pool.
    std::barrier all(count);
    const std::function<void()> inside = [&] {
      all.arrive_and_wait();
      stepper.Step(push, [&] { sum += step_push(1); });
      all.arrive_and_wait();
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&] { step_inside(&inside); });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(sum == 2 * count);
    Report(stepper);
  }
}

TEST_CASE("no instruction of the trampoline was left out") {
  if (!RseqAvailable() || retprobe_vector_level < 3) return;
  // But for the two of a probe that dies between the instruction that names it
  // as running and the next, and two where a slow path goes on that a signal
  // handler has left (left_frames_test).
  const std::vector<std::string> places = Stepper::NotVisited();
  if (places.size() <= 4) return;
  for (const std::string& place : places) FAIL_CHECK(place);
}

}  // namespace
}  // namespace retprobe::test
