// SPDX-License-Identifier: Apache-2.0
//
// What handlers see of a call, and change; part of return_probe_test.
#include <doctest/doctest.h>

#include <cstdint>
#include <utility>

#include "ends.h"

TARGET long plain_add(long a, long b);  // return_probe_test.cc

TARGET double scale(double x, double y, long times) {
  asm volatile("");
  return x * y * static_cast<double>(times);
}

TARGET long nine(long a, long b, long c, long d, long e, long f, long g,
                 double x, long h) {
  asm volatile("");
  return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h +
         static_cast<long>(x);
}

TARGET __int128 wide(long a) {
  asm volatile("");
  return (static_cast<__int128>(a) << 64) + 7;
}

TARGET long double precise(long a) {
  asm volatile("");
  return static_cast<long double>(a) / 3;
}

namespace retprobe {
namespace {

TEST_CASE("handlers see arguments and results, and may change both") {
  struct Seen {
    uint64_t entry[2];
    uint64_t saved;
    uint64_t result;
    void* data;
    void* function;
    EndReason reason;
  } seen = {};
  ReturnProbeOptions options;
  options.data_size = 16;
  options.saved_arguments = 1;
  options.entry_handler = [&](EntryContext& context) noexcept {
    seen.entry[0] = context.argument(0);
    seen.entry[1] = context.argument(1);
    seen.data = context.data();
    *static_cast<long*>(context.data()) = 99;
    context.set_argument(1, 40);
    return true;
  };
  options.return_handler = [&](ReturnContext& context) noexcept {
    seen.saved = context.argument(0);
    seen.result = context.result();
    seen.function = context.function();
    seen.reason = context.reason();
    CHECK(context.data() == seen.data);
    CHECK(*static_cast<long*>(context.data()) == 99);
    CHECK(context.argument(1) == 0);
    context.set_result(context.result() + 1000);
  };
  const ReturnProbe probe = Attached(&plain_add, std::move(options));
  CHECK(plain_add(2, 3) == 1042);
  CHECK(seen.entry[0] == 2);
  CHECK(seen.entry[1] == 3);
  CHECK(seen.saved == 2);
  CHECK(seen.result == 42);
  CHECK(seen.function == reinterpret_cast<void*>(&plain_add));
  CHECK(seen.reason == EndReason::kReturned);
}

TEST_CASE("arguments on the stack and in vector registers can be read") {
  ReturnProbeOptions options;
  uint64_t seventh = 0, eighth = 0;
  double x = 0;
  options.entry_handler = [&](EntryContext& context) noexcept {
    seventh = context.argument(6);
    eighth = context.argument(7);
    x = context.float_argument(0);
    context.set_float_argument(0, 100);
    context.set_argument(7, 1);
    return true;
  };
  const ReturnProbe probe = Attached(&nine, std::move(options));
  CHECK(nine(1, 1, 1, 1, 1, 1, 1, 9.5, 5) ==
        1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 100);
  CHECK(seventh == 1);
  CHECK(eighth == 5);
  CHECK(x == 9.5);
}

TEST_CASE("keeping integer arguments leaves vector arguments alone") {
  for (int saved = 0; saved <= 6; ++saved) {
    CAPTURE(saved);
    ReturnProbeOptions options;
    options.saved_arguments = saved;
    // Without vector registers, so that nothing is kept around it.
    options.return_handler = [](ReturnContext&) noexcept {};
    const ReturnProbe probe = Attached(&scale, std::move(options));
    CHECK(scale(1.5, 2, 3) == 9.0);
  }
}

TEST_CASE("results of every class pass through") {
  Ends ends;
  const ReturnProbe a = Attached(&scale, ends.Options());
  const ReturnProbe b = Attached(&wide, ends.Options());
  const ReturnProbe c = Attached(&precise, ends.Options());
  CHECK(scale(1.5, 2, 3) == 9.0);
  CHECK(wide(5) == (static_cast<__int128>(5) << 64) + 7);
  CHECK(precise(1) == 1.0L / 3);
  CHECK(ends.returned == 3);
}

TEST_CASE("a floating-point result can be read and changed") {
  ReturnProbeOptions options;
  double seen = 0;
  options.return_handler = [&](ReturnContext& context) noexcept {
    seen = context.float_result();
    context.set_float_result(-1.25);
  };
  const ReturnProbe probe = Attached(&scale, std::move(options));
  CHECK(scale(1.5, 2, 3) == -1.25);
  CHECK(seen == 9.0);
}

}  // namespace
}  // namespace retprobe
