// SPDX-License-Identifier: Apache-2.0
//
// Callers compiled with -fipa-ra, or by hand, may keep values in any register
// that the function leaves alone: none may change around a probed call.
#include "rethook/trampoline.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "checked_call.h"
#include "retprobe/return_probe.h"

namespace retprobe {
namespace {

// Clobbers all vector state, as a handler that uses AVX-512 may.
__attribute__((target("avx512f,avx512bw"))) void ClobberVectors() {
  asm volatile(
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,"
      "24,25,26,27,28,29,30,31\n"
      "vpternlogd $0xff, %%zmm\\r, %%zmm\\r, %%zmm\\r\n"
      ".endr\n"
      ".irp r, 0,1,2,3,4,5,6,7\n"
      "kxnorq %%k\\r, %%k\\r, %%k\\r\n"
      ".endr\n" ::
          : "memory");
}

bool Avx512() { return __builtin_cpu_supports("avx512bw") != 0; }

TEST_CASE("every register survives a probe without handlers") {
  if (!Avx512()) return;
  CHECK(CallWithRandomRegisters(1, VectorWords{}) == "");
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching), {});
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  for (unsigned seed = 0; seed < 20; ++seed) {
    CHECK(CallWithRandomRegisters(seed, VectorWords{}) == "");
  }
}

TEST_CASE("every register survives handlers that use AVX-512") {
  if (!Avx512()) return;
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
    CHECK(CallWithRandomRegisters(seed, VectorWords{}) == "");
    CHECK(CallWithRandomRegisters(seed, VectorWords{.low = 2}) == "");
    CHECK(CallWithRandomRegisters(seed, VectorWords{.high = 4}) == "");
  }
  // What is not zero is looked for in every register.
  for (int only = 0; only < 32; ++only) {
    CHECK(CallWithRandomRegisters(1, VectorWords{.only = only}) == "");
    CHECK(CallWithRandomRegisters(1, VectorWords{4, 4, only}) == "");
  }
  CHECK(calls == 124);
}

TEST_CASE("every register survives handlers whose SSE code can be read") {
  if (!Avx512()) return;
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
    CHECK(CallWithRandomRegisters(seed, VectorWords{}) == "");
  }
}

TEST_CASE("the control call notices a changed register") {
  if (!Avx512()) return;
  ReturnProbeOptions options;
  options.handlers_leave_vectors_alone = true;  // a lie
  options.return_handler = [](ReturnContext& context) noexcept {
    ClobberVectors();
    context.set_result(7);
  };
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching),
                                   std::move(options));
  REQUIRE(probe.ok());
  const std::string changed = CallWithRandomRegisters(5, VectorWords{});
  CHECK(changed.find("rax zmm0 ") == 0);
  CHECK(changed.find("zmm31 ") != std::string::npos);
  CHECK(changed.find("k7 ") != std::string::npos);
}

}  // namespace
}  // namespace retprobe
