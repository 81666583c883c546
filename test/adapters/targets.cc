// SPDX-License-Identifier: Apache-2.0
#include "targets.h"

#include <cstdarg>

#include "audited.h"

#if defined(RETPROBE_TARGETS_EXPORTED)
#define TARGET extern "C" __attribute__((noinline, noclone))
// By the PLT, where compilers would call the function that they are in
// directly.
extern "C" {
long RecurseAgain(long depth) asm("Recurse");
void ThrowBelowAgain(long depth) asm("ThrowBelow");
long CatchBelowAgain(long depth) asm("CatchBelow");
}
#define AGAIN(function) function##Again
#else
#define AGAIN(function) function
#define TARGET static __attribute__((noinline, noclone))
#endif

// Where every function is announced, this is one of Mixed's frame.
__attribute__((always_inline)) static inline long Twice(long x) {
  return 2 * x;
}

TARGET double Mixed(long a, long b, long c, long d, long e, long f, double x,
                    double y, long g, double* z) {
  return static_cast<double>(a + Twice(b) + 3 * c + 4 * d + 5 * e + 6 * f +
                             7 * g) +
         8 * x + 9 * y + 10 * *z;
}

TARGET double Sum(int count, ...) {
  va_list arguments;
  va_start(arguments, count);
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += va_arg(arguments, double);
  va_end(arguments);
  return sum;
}

TARGET long double Precise(long double x) { return x / 3; }

TARGET long Aligned(long bytes) {
  alignas(64) volatile char line[64];
  auto* rest = static_cast<volatile char*>(__builtin_alloca(bytes));
  line[0] = 40;
  rest[bytes - 1] = 2;
  return line[0] + rest[bytes - 1] +
         static_cast<long>(reinterpret_cast<unsigned long>(line) % 64);
}

TARGET long Recurse(long depth) {
  if (depth == 0) return 0;
  long below = AGAIN(Recurse)(depth - 1);
  asm volatile("" : "+r"(below));  // no loop, no tail call
  return below + 1;
}

TARGET void ThrowBelow(long depth) {
  if (depth == 0) throw 42;
  AGAIN(ThrowBelow)(depth - 1);
  asm volatile("");
}

TARGET long CatchBelow(long depth) {
  if (depth == 1) throw 7L;
  try {
    return AGAIN(CatchBelow)(depth - 1);
  } catch (long thrown) {
    if (depth == 2) throw thrown + 1;
    return thrown;
  }
}

#if defined(RETPROBE_TARGETS_EXPORTED)
extern "C" const AuditedCounts* audited_counts() { return nullptr; }
#else
extern const Targets RETPROBE_TARGETS = {
    Mixed, Sum, Precise, Aligned, Recurse, ThrowBelow, CatchBelow,
};
#endif
