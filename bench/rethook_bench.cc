// SPDX-License-Identifier: Apache-2.0
// What a probe adds to a call, beside its peers. See README.md.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "attach_many.h"
#include "hooked.h"
#include "instrumented.h"
#include "retprobe/return_probe.h"
#include "target.h"
#include "throw.h"
#include "uretprobe.h"
#include "waiting.h"
#if RETPROBE_BENCH_XRAY
#include "xray.h"
#endif

namespace {

using retprobe::EntryContext;
using retprobe::Rethook;
using retprobe::ReturnContext;
using retprobe::ReturnProbe;
using retprobe::ReturnProbeOptions;

using Function = long (*)(long);

// Why a case could not be set up; checked by the timed loop.
std::string g_error;

// The timed loop, the same code for every case but for the callee.
template <Function kFunction>
void CallLoop(benchmark::State& state) {
  if (!g_error.empty()) {
    state.SkipWithError(g_error.c_str());
    return;
  }
  long x = 0;
  for (auto _ : state) benchmark::DoNotOptimize(kFunction(x++));
}

// What is known of a handler that does nothing decides which vector registers
// are kept around it.
enum class Vectors {
  kAlone,  // declared: it leaves them alone
  kSeen,   // not declared, but the library can read that it does
  kSse,    // code that is never run uses SSE
  kWide,   // the same, 512-bit registers 0..3
  kUpper,  // the same, vzeroupper: all of registers 0..15
  kAny,    // it might call a function that the library cannot follow
};

enum class Handlers { kNone, kReturn, kEntryAndReturn };

volatile double g_never = 0;
void (*volatile g_nobody)() = nullptr;

template <Vectors kVectors>
inline void DoNothing() noexcept {
  if constexpr (kVectors == Vectors::kSse) {
    static volatile bool never = false;
    if (never) g_never = g_never * 2;
  }
  if constexpr (kVectors == Vectors::kWide || kVectors == Vectors::kUpper) {
    static volatile bool never = false;
    if (never) {
      if constexpr (kVectors == Vectors::kWide) {
        asm volatile(
            ".irp r, 0,1,2,3\nvpxorq %%zmm\\r, %%zmm\\r, %%zmm\\r\n.endr" ::
                : "memory");
      } else {
        asm volatile("vzeroupper" ::: "memory");
      }
    }
  }
  if constexpr (kVectors == Vectors::kAny) {
    void (*const nobody)() = g_nobody;
    if (nobody != nullptr) nobody();
  }
}

template <Vectors kVectors>
ReturnProbeOptions Options(Handlers handlers) {
  ReturnProbeOptions options;
  options.handlers_leave_vectors_alone = kVectors == Vectors::kAlone;
  if (handlers != Handlers::kNone)
    options.return_handler = [](ReturnContext&) noexcept {
      DoNothing<kVectors>();
    };
  if (handlers == Handlers::kEntryAndReturn)
    options.entry_handler = [](EntryContext&) noexcept {
      DoNothing<kVectors>();
      return true;
    };
  return options;
}

// The benchmark library calls Setup and Teardown around each repetition,
// outside its timing and in one thread.
std::optional<ReturnProbe> g_probe;

void Attach(void* function, ReturnProbeOptions options) {
  auto probe = ReturnProbe::Attach(function, std::move(options));
  g_error = probe.ok() ? "" : probe.status().ToString();
  if (probe.ok()) g_probe = std::move(*probe);
}

template <Function kFunction, Handlers kHandlers, Vectors kVectors>
void SetupProbe(const benchmark::State&) {
  Attach(reinterpret_cast<void*>(kFunction), Options<kVectors>(kHandlers));
}

void TeardownProbe(const benchmark::State&) {
  g_probe.reset();
  g_error.clear();
}

// One case with one and with two threads on the one function.
template <typename Register>
void ForThreads(Register register_case) {
  register_case()->UseRealTime();
  register_case()->Threads(2)->UseRealTime();
}

template <Function kFunction>
void RegisterUnprobed(const char* name) {
  ForThreads([name] {
    return benchmark::RegisterBenchmark(name, CallLoop<kFunction>);
  });
}

template <Function kFunction, Handlers kHandlers, Vectors kVectors>
void RegisterProbed(const char* name) {
  ForThreads([name] {
    return benchmark::RegisterBenchmark(name, CallLoop<kFunction>)
        ->Setup(SetupProbe<kFunction, kHandlers, kVectors>)
        ->Teardown(TeardownProbe);
  });
}

void RegisterProbes() {
  constexpr auto kNone = Handlers::kNone;
  constexpr auto kReturn = Handlers::kReturn;
  constexpr auto kBoth = Handlers::kEntryAndReturn;
  RegisterUnprobed<TargetPlain>("call/unprobed");
  RegisterProbed<TargetPlain, kNone, Vectors::kAlone>("call/no_handler");
  RegisterProbed<TargetPlain, kReturn, Vectors::kAlone>(
      "call/return/vectors_alone");
  RegisterProbed<TargetPlain, kReturn, Vectors::kSeen>("call/return/seen");
  RegisterProbed<TargetPlain, kReturn, Vectors::kSse>("call/return/sse");
  RegisterProbed<TargetPlain, kReturn, Vectors::kAny>(
      "call/return/all_vectors");
  RegisterProbed<TargetPlain, kBoth, Vectors::kAlone>(
      "call/entry_return/vectors_alone");
  RegisterProbed<TargetPlain, kBoth, Vectors::kSeen>("call/entry_return/seen");
  RegisterProbed<TargetPlain, kBoth, Vectors::kSse>("call/entry_return/sse");
  RegisterProbed<TargetPlain, kBoth, Vectors::kWide>("call/entry_return/wide");
  RegisterProbed<TargetPlain, kBoth, Vectors::kUpper>(
      "call/entry_return/upper");
  RegisterProbed<TargetPlain, kBoth, Vectors::kAny>(
      "call/entry_return/all_vectors");
  RegisterProbed<TargetPatchable, kNone, Vectors::kAlone>(
      "call/patchable/no_handler");
  RegisterProbed<TargetPatchable, kReturn, Vectors::kAlone>(
      "call/patchable/return/vectors_alone");
}

void ThrowLoop(benchmark::State& state) {
  if (!g_error.empty()) {
    state.SkipWithError(g_error.c_str());
    return;
  }
  for (auto _ : state) {
    try {
      benchmark::DoNotOptimize(ThrowThroughFrames(10));
    } catch (int) {
    }
  }
}

template <Handlers kHandlers>
void SetupThrow(const benchmark::State&) {
  Attach(reinterpret_cast<void*>(&ThrowThroughFrames),
         Options<Vectors::kAny>(kHandlers));
}

void RegisterThrows() {
  benchmark::RegisterBenchmark("throw/unprobed", ThrowLoop);
  benchmark::RegisterBenchmark("throw/no_handler", ThrowLoop)
      ->Setup(SetupThrow<Handlers::kNone>)
      ->Teardown(TeardownProbe);
  benchmark::RegisterBenchmark("throw/return", ThrowLoop)
      ->Setup(SetupThrow<Handlers::kReturn>)
      ->Teardown(TeardownProbe);
}

// Each iteration is a process of its own: a function that was probed before is
// probed again at less cost.
void AttachLoop(benchmark::State& state, double AttachResult::*seconds) {
  double bytes = 0;
  for (auto _ : state) {
    const AttachResult result = AttachManyInChild();
    if (!result.error.empty()) {
      state.SkipWithError(result.error.c_str());
      return;
    }
    state.SetIterationTime(result.*seconds);
    bytes = result.bytes_per_probe;
  }
  state.counters["bytes_per_probe"] = bytes;
}

void RegisterAttach(const char* name, double AttachResult::*seconds) {
  benchmark::RegisterBenchmark(
      name, [=](benchmark::State& state) { AttachLoop(state, seconds); })
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

struct NamedStorage {
  const char* name;
  Rethook::Storage storage;
};
constexpr NamedStorage kStorages[] = {
    {"pool", Rethook::Storage::kPool},
    {"shadow_stack", Rethook::Storage::kShadowStack},
    {"malloc", Rethook::Storage::kMalloc},
};

template <int kStorage, bool kVectorsAlone>
void SetupHooked(const benchmark::State&) {
  const absl::Status status =
      HookReturns(kStorages[kStorage].storage, kVectorsAlone);
  g_error = status.ok() ? "" : status.ToString();
}

void TeardownHooked(const benchmark::State&) {
  UnhookReturns();
  g_error.clear();
}

template <Function kFunction, int kStorage, bool kVectorsAlone>
void RegisterHooked(const std::string& name) {
  ForThreads([&name] {
    return benchmark::RegisterBenchmark(name.c_str(), CallLoop<kFunction>)
        ->Setup(SetupHooked<kStorage, kVectorsAlone>)
        ->Teardown(TeardownHooked);
  });
}

void RegisterRethook() {
  RegisterUnprobed<TargetHooked>("call/hooked/off");
  RegisterHooked<TargetHooked, 0, true>("call/hooked/pool/vectors_alone");
  RegisterHooked<TargetHooked, 0, false>("call/hooked/pool/all_vectors");
  RegisterHooked<TargetHooked, 1, true>(
      "call/hooked/shadow_stack/vectors_alone");
  RegisterHooked<TargetHooked, 2, false>("call/hooked/malloc/all_vectors");
  RegisterUnprobed<TargetHookedByCall>("call/hooked_by_call/off");
  RegisterHooked<TargetHookedByCall, 0, true>(
      "call/hooked_by_call/pool/vectors_alone");
}

// A child for each; memory does not vary from one to the next.
void WaitingLoop(benchmark::State& state, WaitingCase waiting) {
  WaitingResult result;
  for (auto _ : state) result = WaitInChild(waiting);
  if (!result.error.empty()) {
    state.SkipWithError(result.error.c_str());
    return;
  }
  state.counters["fixed_kib"] = result.fixed_bytes / 1024;
  state.counters["waiting_kib"] = result.waiting_bytes / 1024;
  state.counters["bytes_per_thread"] = result.waiting_bytes / waiting.threads;
  state.counters["hooked"] = result.hooked;
  state.counters["missed"] = result.missed;
}

void RegisterWaiting(const NamedStorage& storage, int threads, int depth,
                     int maxactive) {
  std::string name = absl::StrCat("waiting/", storage.name,
                                  "/waiting:", threads, "/depth:", depth);
  if (maxactive != 0) absl::StrAppend(&name, "/maxactive:", maxactive);
  const WaitingCase waiting = {storage.storage, threads, depth, maxactive};
  benchmark::RegisterBenchmark(
      name.c_str(),
      [waiting](benchmark::State& state) { WaitingLoop(state, waiting); })
      ->Iterations(1)
      ->Repetitions(1)
      ->Unit(benchmark::kMillisecond);
}

void RegisterAllWaiting() {
  for (const NamedStorage& storage : kStorages) {
    for (const int threads : {1, 8, 4000}) {
      for (const int depth : {1, 100}) {
        RegisterWaiting(storage, threads, depth, 0);
      }
    }
    RegisterWaiting(storage, 4000, 1, 1000);
  }
}

#if RETPROBE_BENCH_XRAY
void SetupXray(const benchmark::State&) {
  g_error = PatchXray() ? "" : "XRay could not patch";
}
void TeardownXray(const benchmark::State&) {
  UnpatchXray();
  g_error.clear();
}

void RegisterXray() {
  RegisterUnprobed<TargetXray>("call/xray_unpatched");
  ForThreads([] {
    return benchmark::RegisterBenchmark("call/xray", CallLoop<TargetXray>)
        ->Setup(SetupXray)
        ->Teardown(TeardownXray);
  });
}
#endif

std::unique_ptr<Uretprobe> g_uretprobe;

template <Function kFunction>
void SetupUretprobe(const benchmark::State&) {
  auto probe = Uretprobe::Attach(reinterpret_cast<void*>(kFunction));
  g_error = probe.ok() ? "" : probe.status().ToString();
  if (!probe.ok()) return;
  g_uretprobe = std::move(*probe);
  // The kernel rewrites some entries when they are first hit.
  for (int i = 0; i < 100; ++i) benchmark::DoNotOptimize(kFunction(i));
  if (g_uretprobe->Hits() < 100) g_error = "the kernel's probe is not hit";
}

void TeardownUretprobe(const benchmark::State&) {
  g_uretprobe.reset();
  g_error.clear();
}

template <Function kFunction>
void RegisterUretprobe(const char* name) {
  benchmark::RegisterBenchmark(name, CallLoop<kFunction>)
      ->Setup(SetupUretprobe<kFunction>)
      ->Teardown(TeardownUretprobe)
      ->UseRealTime();
}

// Registers the peers that can run here; returns the others, with the reason.
std::string RegisterPeers() {
  std::string left_out;
#if RETPROBE_BENCH_XRAY
  RegisterXray();
#else
  absl::StrAppend(&left_out, "xray (no clang or no XRay runtime); ");
#endif
  RegisterUnprobed<TargetInstrumented>("call/instrument_functions");
  if (auto probe = Uretprobe::Attach(reinterpret_cast<void*>(TargetPlain));
      probe.ok()) {
    RegisterUretprobe<TargetPlain>("call/uretprobe/plain");
    RegisterUretprobe<TargetPush>("call/uretprobe/push");
    RegisterUretprobe<TargetNop5>("call/uretprobe/nop5");
  } else {
    absl::StrAppend(&left_out, "uretprobe (", probe.status().ToString(), "); ");
  }
  return left_out.empty() ? "nothing" : left_out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], kAttachArgument) == 0)
    return AttachMany();
  if (argc == 2 + kWaitingArguments &&
      std::strcmp(argv[1], kWaitingArgument) == 0)
    return Wait(argv + 2);
  RegisterProbes();
  RegisterRethook();
  benchmark::AddCustomContext("left_out", RegisterPeers());
  RegisterThrows();
  RegisterAllWaiting();
  RegisterAttach("attach/10000", &AttachResult::seconds);
  RegisterAttach("attach/detach_10000", &AttachResult::detach_seconds);
  RegisterAttach("attach/detach_10000/one_by_one",
                 &AttachResult::one_by_one_seconds);
  benchmark::AddCustomContext("compiler", __VERSION__);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
