// SPDX-License-Identifier: Apache-2.0
#include "many_functions.h"

// Macros, not templates: 10,000 instantiations take minutes to compile.
// EACH_5000(M) is M(1000) M(1001) ... M(5999).
// clang-format off
#define EACH_10(M, n)                           \
  M(n##0) M(n##1) M(n##2) M(n##3) M(n##4)       \
  M(n##5) M(n##6) M(n##7) M(n##8) M(n##9)
#define EACH_100(M, n)                          \
  EACH_10(M, n##0) EACH_10(M, n##1)             \
  EACH_10(M, n##2) EACH_10(M, n##3)             \
  EACH_10(M, n##4) EACH_10(M, n##5)             \
  EACH_10(M, n##6) EACH_10(M, n##7)             \
  EACH_10(M, n##8) EACH_10(M, n##9)
#define EACH_1000(M, n)                         \
  EACH_100(M, n##0) EACH_100(M, n##1)           \
  EACH_100(M, n##2) EACH_100(M, n##3)           \
  EACH_100(M, n##4) EACH_100(M, n##5)           \
  EACH_100(M, n##6) EACH_100(M, n##7)           \
  EACH_100(M, n##8) EACH_100(M, n##9)
#define EACH_5000(M)                            \
  EACH_1000(M, 1) EACH_1000(M, 2)               \
  EACH_1000(M, 3) EACH_1000(M, 4)               \
  EACH_1000(M, 5)
// clang-format on

#define DEFINE(n)                                                          \
  long Plain##n(long x) { return x + 1000000 + n; }                        \
  __attribute__((patchable_function_entry(5))) long Patchable##n(long x) { \
    return x + 2000000 + n;                                                \
  }
#define LIST(n) \
  reinterpret_cast<void*>(&Plain##n), reinterpret_cast<void*>(&Patchable##n),

namespace {
EACH_5000(DEFINE)
void* const kFunctions[] = {EACH_5000(LIST)};
}  // namespace

absl::Span<void* const> ManyFunctions() { return kFunctions; }
