// SPDX-License-Identifier: Apache-2.0
//
// -pg -mfentry: functions begin with a call of __fentry__.
#include "retprobe/adapters/fentry.h"

#include <doctest/doctest.h>
#include <execinfo.h>

#include <atomic>

#include "checked_call.h"
#include "checks.h"
#include "clobber_vectors.h"
#include "hooking.h"
#include "rethook/trampoline.h"

namespace {

std::atomic<retprobe::Rethook*> g_rethook{nullptr};
retprobe::test::Ends g_ends;
std::atomic<void*> g_function{nullptr};
std::atomic<bool> g_clobber{false};
std::atomic<bool> g_walk{false};
std::atomic<long> g_walked{0};

// Whether the frames outside this one are `inner` and then `outer`.
bool IsCalledFrom(void* inner, void* outer) {
  void* frames[16];
  const int count = backtrace(frames, 16);
  for (int i = 0; i + 1 < count; ++i) {
    if (frames[i] == inner) return frames[i + 1] == outer;
  }
  return false;
}

}  // namespace

extern "C" {

void at_fentry(void** return_address, void* function) noexcept {
  retprobe::Rethook* rethook = g_rethook.load(std::memory_order_acquire);
  if (rethook == nullptr) return;
  retprobe::Rethook::Instance* instance = rethook->TryGet();
  if (instance == nullptr) return;
  if (g_clobber.load(std::memory_order_relaxed)) {
    retprobe::test::ClobberVectors();
  }
  if (g_walk.load(std::memory_order_relaxed)) {
    g_walked += IsCalledFrom(
        function, retprobe::Rethook::FindReturnAddress(*return_address));
  }
  g_ends.entries.fetch_add(1, std::memory_order_relaxed);
  rethook->Hook(instance, return_address, function);
}

// Touches no register, and begins as those that -mfentry compiles.
void untouching_with_fentry();
}

RETPROBE_DEFINE_FENTRY(at_fentry);

asm(".pushsection .text\n"
    "untouching_with_fentry: call __fentry__\n"
    "ret\n"
    ".popsection\n");

namespace retprobe::test {
namespace {

struct Fentry {
  explicit Fentry(bool clobber)
      : rethook(Create(WithHandler([clobber](ReturnContext& context) noexcept {
          g_ends.Count(context);
          g_function.store(context.function(), std::memory_order_relaxed);
          if (clobber) ClobberVectors();
        }))) {
    g_clobber = clobber;
    ::g_rethook = rethook.get();
  }
  ~Fentry() {
    ::g_rethook = nullptr;
    CHECK(rethook->in_use() == 0);
    CHECK(rethook->nmissed().total() == 0);
  }
  std::unique_ptr<Rethook> rethook;
};

TEST_CASE("what -mfentry compiles returns, and is unwound, where it is seen") {
  const Fentry fentry(false);
  CheckEnds(kFentryTargets, g_ends);
}

// Makes believe in a lesser machine.
struct ScopedLevel {
  explicit ScopedLevel(int level) { retprobe_vector_level = level; }
  ~ScopedLevel() { retprobe_vector_level = was; }
  const int was = retprobe_vector_level;
};

TEST_CASE("unwinders see through __fentry__") {
  const Fentry fentry(false);
  const long entries = g_ends.entries;
  g_walk = true;
  CHECK(kFentryTargets.recurse(5) == 5);
  CHECK_THROWS(kFentryTargets.throw_below(3));
  g_walk = false;
  CHECK(g_ends.entries == entries + 10);
  CHECK(g_walked == 10);
}

TEST_CASE("__fentry__ keeps every register, and so does the return") {
  if (!HasAvx512()) return;
  const Fentry fentry(true);
  for (unsigned seed = 0; seed < 20; ++seed) {
    for (const bool upper : {true, false}) {
      // Either way of keeping what this machine has.
      const ScopedLevel level(upper ? 3 : 2);
      const long returned = g_ends.returned;
      CHECK(CallWithRandomRegisters(&untouching_with_fentry, seed,
                                    {.low = upper ? 8 : 2}) == "");
      CHECK(g_ends.returned == returned + 1);
      CHECK(g_function.load() ==
            reinterpret_cast<char*>(&untouching_with_fentry) + 5);
    }
  }
}

}  // namespace
}  // namespace retprobe::test
