// SPDX-License-Identifier: Apache-2.0
//
// Hooked returns: every register the function leaves is what the caller gets;
// and entries in assembly, through the slot's call.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "checked_call.h"
#include "clobber_vectors.h"
#include "hooking.h"

extern "C" {
// test/arch/x86_64/hooked_entries.S.
void telling();
void exchanging();
long entered_by_call(long x);
void untouching_by_call();
extern void* g_exchanged;
extern void* g_slot;

void* at_entry(void** return_address);
long called_body(long x);
}

void* at_entry(void** return_address) {
  using namespace retprobe;
  Rethook* rethook = test::g_rethook;
  Rethook::Instance* instance =
      rethook == nullptr ? nullptr : rethook->TryGet();
  if (instance == nullptr) return nullptr;
  test::g_entries.fetch_add(1, std::memory_order_relaxed);
  return rethook->HookCall(instance, return_address);
}

__attribute__((noinline, noclone)) long called_body(long x) {
  if (x == 1000) throw std::runtime_error("boom");
  if (x == 0) return 0;
  long below = entered_by_call(x - 1);
  asm volatile("" : "+r"(below));
  return below + 1;
}

namespace retprobe {
namespace {

using test::ForStoragesAndCounts;
using test::Hooking;
using test::Storage;

std::unique_ptr<Rethook> Create(ReturnHandler handler, bool alone) {
  auto options = test::WithHandler(std::move(handler));
  options.handler_leaves_vectors_alone = alone;
  return test::Create(std::move(options));
}

// `upper` false: as SSE code leaves the registers.
std::string Call(void (*function)(), unsigned seed, bool upper) {
  return test::CallWithRandomRegisters(function, seed,
                                       test::VectorWords{.low = upper ? 8 : 2});
}

// Calls a function that touches nothing, hooked.
std::string HookedCall(Rethook& rethook, unsigned seed, bool upper) {
  CHECK(Call(&telling, seed, upper) == "");  // where calls return to
  Rethook::Instance* instance = rethook.TryGet();
  REQUIRE(instance != nullptr);
  rethook.Hook(instance, &g_exchanged);
  return Call(&exchanging, seed, upper);
}

std::string HookedByCall(Rethook& rethook, unsigned seed, bool upper) {
  CHECK(Call(&telling, seed, upper) == "");
  Rethook::Instance* instance = rethook.TryGet();
  REQUIRE(instance != nullptr);
  g_slot = rethook.HookCall(instance, &g_exchanged);
  return Call(&untouching_by_call, seed, upper);
}

TEST_CASE("every register survives a hooked return") {
  if (!test::HasAvx512()) return;
  static int calls;
  calls = 0;
  const auto all = Create(
      [](ReturnContext&) noexcept {
        ++calls;
        test::ClobberVectors();
      },
      false);
  const auto alone = Create([](ReturnContext&) noexcept { ++calls; }, true);
  for (unsigned seed = 0; seed < 20; ++seed) {
    for (const bool upper : {true, false}) {
      CHECK(HookedCall(*all, seed, upper) == "");
      CHECK(HookedCall(*alone, seed, upper) == "");
      // r11 is what the entry used.
      CHECK(HookedByCall(*all, seed, upper) == "r11 ");
      CHECK(HookedByCall(*alone, seed, upper) == "r11 ");
    }
  }
  CHECK(calls == 160);
  CHECK(all->in_use() == 0);
  CHECK(alone->in_use() == 0);
}

TEST_CASE("the checked call notices what a hooked return changes") {
  if (!test::HasAvx512()) return;
  const auto liar = Create(
      [](ReturnContext& context) noexcept {
        test::ClobberVectors();
        context.set_result(7);
      },
      true);
  const std::string changed = HookedCall(*liar, 5, true);
  CHECK(changed.find("rax zmm0 ") == 0);
  CHECK(changed.find("k7 ") != std::string::npos);
}

TEST_CASE("functions entered through the slot's call return, and are unwound") {
  ForStoragesAndCounts([&](Storage storage, int count) {
    Hooking hooking(storage);
    std::atomic<int> wrong{0};
    InNewThreads(count, [&] {
      for (int n = 0; n < 100; ++n) {
        wrong += entered_by_call(30) != 30;
        try {
          entered_by_call(1000);
          ++wrong;
        } catch (const std::exception&) {
        }
      }
    });
    CHECK(wrong == 0);
    CHECK(hooking.returned() == count * 3100);
    CHECK(hooking.unwound() == count * 100);
  });
}

}  // namespace
}  // namespace retprobe
