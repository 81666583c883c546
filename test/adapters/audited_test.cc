// SPDX-License-Identifier: Apache-2.0
//
// Run under LD_AUDIT=audit.so; knows nothing of retprobe.
#include "audited.h"

#include <doctest/doctest.h>

#include <cstdarg>

#include "checks.h"

// targets.cc, as a library.
extern "C" {
double Mixed(long a, long b, long c, long d, long e, long f, double x, double y,
             long g, double* z);
double Sum(int count, ...);
long double Precise(long double x);
long Aligned(long bytes);
long Recurse(long depth);
void ThrowBelow(long depth);
long CatchBelow(long depth);
}

namespace retprobe::test {
namespace {

double CallSum(int count, ...) {
  va_list arguments;
  va_start(arguments, count);
  double x[9];
  for (double& value : x) value = va_arg(arguments, double);
  va_end(arguments);
  return Sum(count, x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8]);
}

// By the PLT, which a function's address goes round.
constexpr Targets kAuditedTargets = {
    [](long a, long b, long c, long d, long e, long f, double x, double y,
       long g, double* z) { return Mixed(a, b, c, d, e, f, x, y, g, z); },
    CallSum,
    [](long double x) { return Precise(x); },
    [](long bytes) { return Aligned(bytes); },
    [](long depth) { return Recurse(depth); },
    [](long depth) { ThrowBelow(depth); },
    [](long depth) { return CatchBelow(depth); },
};

TEST_CASE("calls that LD_AUDIT announces are seen to return, or be unwound") {
  const AuditedCounts* counts = audited_counts();
  REQUIRE_MESSAGE(counts != nullptr, "run with LD_AUDIT=audit.so");
  CheckEnds(kAuditedTargets, *counts);
  CHECK(audited_counts()->in_use == 0);
}

}  // namespace
}  // namespace retprobe::test
