// SPDX-License-Identifier: Apache-2.0
//
// Callers compiled with -fipa-ra, or by hand, may keep values in any register
// that the function leaves alone: none may change around a probed call.
#include "rethook/trampoline.h"

#include <doctest/doctest.h>
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include "retprobe/return_probe.h"

namespace {

struct Registers {
  uint64_t general[16];  // rax rbx rcx rdx rsi rdi rbp r8..r15, unused
  uint64_t vectors[32][8];
  uint64_t masks[8];
};
struct CheckedState {
  Registers in;
  Registers out;
};
static_assert(offsetof(Registers, vectors) == 128);
static_assert(offsetof(Registers, masks) == 2176);
static_assert(offsetof(CheckedState, out) == 2240);

const char* const kNames[] = {"rax", "rbx", "rcx", "rdx", "rsi",
                              "rdi", "rbp", "r8",  "r9",  "r10",
                              "r11", "r12", "r13", "r14", "r15"};

}  // namespace

extern "C" void checked_call(const void* function, CheckedState* state);
extern "C" void untouching();

namespace retprobe {
namespace {

// What differs between the registers before and after, by name.
std::string Changed(const CheckedState& state) {
  std::string changed;
  for (int i = 0; i < 15; ++i) {
    if (state.in.general[i] != state.out.general[i]) {
      changed.append(kNames[i]).append(" ");
    }
  }
  for (int i = 0; i < 32; ++i) {
    if (std::memcmp(state.in.vectors[i], state.out.vectors[i], 64) != 0) {
      changed.append("zmm").append(std::to_string(i)).append(" ");
    }
  }
  for (int i = 0; i < 8; ++i) {
    if (state.in.masks[i] != state.out.masks[i]) {
      changed.append("k").append(std::to_string(i)).append(" ");
    }
  }
  return changed;
}

// `upper` false: what SSE code leaves, the halves above 128 bits zero.
std::string CallWithRandomRegisters(unsigned seed, bool upper) {
  std::mt19937_64 random(seed);
  CheckedState state;
  for (uint64_t& value : state.in.general) value = random();
  for (int r = 0; r < 32; ++r) {
    for (int i = 0; i < 8; ++i) {
      state.in.vectors[r][i] = upper || i < 2 || r >= 16 ? random() : 0;
    }
  }
  // Without AVX-512BW masks have 16 bits.
  const uint64_t mask_bits = retprobe_vector_level == 2 ? 0xffff : ~uint64_t{0};
  for (uint64_t& value : state.in.masks) value = random() & mask_bits;
  checked_call(reinterpret_cast<const void*>(&untouching), &state);
  return Changed(state);
}

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
  CHECK(CallWithRandomRegisters(1, true) == "");
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching), {});
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  for (unsigned seed = 0; seed < 20; ++seed) {
    CHECK(CallWithRandomRegisters(seed, true) == "");
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
    CHECK(CallWithRandomRegisters(seed, true) == "");
    CHECK(CallWithRandomRegisters(seed, false) == "");
  }
  CHECK(calls == 40);
}

TEST_CASE("every register survives on machines with less than AVX-512") {
  if (!Avx512()) return;
  const int32_t level = retprobe_vector_level;
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {
    // What such a machine's handler can change.
    if (retprobe_vector_level == 0) {
      asm volatile("pcmpeqd %%xmm0, %%xmm0\n pcmpeqd %%xmm15, %%xmm15" ::
                       : "memory");
    } else if (retprobe_vector_level == 1) {
      asm volatile(
          "vxorps %%ymm0, %%ymm0, %%ymm0\n"
          "vxorps %%ymm15, %%ymm15, %%ymm15" ::
              : "memory");
    }
  };
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching),
                                   std::move(options));
  REQUIRE(probe.ok());
  retprobe_vector_level = 0;
  CHECK(CallWithRandomRegisters(3, true) == "");
  retprobe_vector_level = 2;
  // 16-bit masks and no clobbering of wider ones.
  CHECK(CallWithRandomRegisters(4, true) == "");
  retprobe_vector_level = level;
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
  SUBCASE("general registers beyond those of a leaf") {
    options.return_handler = [](ReturnContext&) noexcept {
      asm volatile("xorl %%r8d, %%r8d\n xorl %%r11d, %%r11d" ::: "r8", "r11");
    };
  }
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching),
                                   std::move(options));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  for (unsigned seed = 0; seed < 20; ++seed) {
    CHECK(CallWithRandomRegisters(seed, true) == "");
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
  const std::string changed = CallWithRandomRegisters(5, true);
  CHECK(changed.find("rax zmm0 ") == 0);
  CHECK(changed.find("zmm31 ") != std::string::npos);
  CHECK(changed.find("k7 ") != std::string::npos);
}

}  // namespace
}  // namespace retprobe
