// SPDX-License-Identifier: Apache-2.0
//
// Callers compiled with -fipa-ra, or by hand, may keep values in any register
// that the function leaves alone: none may change around a probed call.
#include "rethook/trampoline.h"

#include <doctest/doctest.h>

#include <string>

#include "checked_call.h"
#include "clobber_vectors.h"
#include "retprobe/return_probe.h"

namespace retprobe {
namespace {

using test::ClobberVectors;
using test::HasAvx512;
using test::VectorWords;

// What a call of a function that touches nothing changes.
std::string Changed(unsigned seed, VectorWords words) {
  return test::CallWithRandomRegisters(&untouching, seed, words);
}

TEST_CASE("every register survives a probe without handlers") {
  if (!HasAvx512()) return;
  CHECK(Changed(1, VectorWords{}) == "");
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching), {});
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  for (unsigned seed = 0; seed < 20; ++seed) {
    CHECK(Changed(seed, VectorWords{}) == "");
  }
}

TEST_CASE("every register survives handlers that use AVX-512") {
  if (!HasAvx512()) return;
  static int calls;
  calls = 0;
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    ++calls;
    ClobberVectors();
  };
  SUBCASE("return handler") {}
  SUBCASE("entry and return handler") {
    options.entry_handler = [](EntryContext&) noexcept {
      ClobberVectors();
      return true;
    };
  }
  SUBCASE("entry handler that declines") {
    options.entry_handler = [](EntryContext&) noexcept {
      ++calls;
      ClobberVectors();
      return false;
    };
  }
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching),
                                   std::move(options));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  for (unsigned seed = 0; seed < 20; ++seed) {
    CHECK(Changed(seed, VectorWords{}) == "");
    CHECK(Changed(seed, VectorWords{.low = 2}) == "");
    CHECK(Changed(seed, VectorWords{.high = 4}) == "");
  }
  // What is not zero is looked for in every register.
  for (int only = 0; only < 32; ++only) {
    CHECK(Changed(1, VectorWords{.only = only}) == "");
    CHECK(Changed(1, VectorWords{4, 4, only}) == "");
  }
  CHECK(calls == 124);
}

TEST_CASE("every register survives handlers whose SSE code can be read") {
  if (!HasAvx512()) return;
  ReturnProbeOptions options;
  SUBCASE("four registers, nothing called") {
    options.return_handler = [](ReturnContext&) noexcept {
      asm volatile(
          "pcmpeqd %%xmm0, %%xmm0\n pcmpeqd %%xmm1, %%xmm1\n"
          "pcmpeqd %%xmm2, %%xmm2\n pcmpeqd %%xmm3, %%xmm3" ::
              : "memory");
    };
  }
  SUBCASE("more registers") {
    options.return_handler = [](ReturnContext&) noexcept {
      asm volatile("pcmpeqd %%xmm4, %%xmm4\n pcmpeqd %%xmm15, %%xmm15" ::
                       : "memory");
    };
  }
  SUBCASE("none, in an entry handler that calls nothing") {
    options.entry_handler = [](EntryContext& context) noexcept {
      context.set_argument(5, context.argument(5));
      asm volatile("" ::: "rax", "rcx", "rdx", "rsi", "rdi");
      return true;
    };
  }
  SUBCASE("general registers beyond those of a leaf") {
    options.return_handler = [](ReturnContext&) noexcept {
      asm volatile("xorl %%r8d, %%r8d\n xorl %%r11d, %%r11d" ::: "r8", "r11");
    };
  }
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching),
                                   std::move(options));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  for (unsigned seed = 0; seed < 20; ++seed) {
    CHECK(Changed(seed, VectorWords{}) == "");
  }
}

TEST_CASE("the control call notices a changed register") {
  if (!HasAvx512()) return;
  ReturnProbeOptions options;
  options.handlers_leave_vectors_alone = true;  // a lie
  options.return_handler = [](ReturnContext& context) noexcept {
    ClobberVectors();
    context.set_result(7);
  };
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching),
                                   std::move(options));
  REQUIRE(probe.ok());
  const std::string changed = Changed(5, VectorWords{});
  CHECK(changed.find("rax zmm0 ") == 0);
  CHECK(changed.find("zmm31 ") != std::string::npos);
  CHECK(changed.find("k7 ") != std::string::npos);
}

}  // namespace
}  // namespace retprobe
