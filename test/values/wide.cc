// SPDX-License-Identifier: Apache-2.0
#include "wide.h"

#include <immintrin.h>

#include <cstring>

#include "clobber_vectors.h"

namespace {

using retprobe::test::ClobberVectors;
using retprobe::test::HasAvx512;

#define WIDE(options) __attribute__((noinline, noclone, target(options)))

// Eight vectors of `Vector` as arguments, one as the result.
#define WIDE_FUNCTION(name, Vector, add, options)                         \
  WIDE(options)                                                           \
  Vector name(Vector a, Vector b, Vector c, Vector d, Vector e, Vector f, \
              Vector g, Vector h) {                                       \
    asm volatile("");                                                     \
    return add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)));     \
  }

WIDE_FUNCTION(Add128, __m128i, _mm_add_epi64, "sse2")
WIDE_FUNCTION(Add256, __m256i, _mm256_add_epi64, "avx2")
WIDE_FUNCTION(Add512, __m512i, _mm512_add_epi64, "avx512f")

// Every 64-bit word is another.
#define WIDE_GOOD(name, function, Vector, options)                             \
  WIDE(options) bool name(long seed) {                                         \
    constexpr int kWords = sizeof(Vector) / 8;                                 \
    alignas(64) long words[8][kWords];                                         \
    long sums[kWords] = {};                                                    \
    for (int i = 0; i < 8; ++i) {                                              \
      for (int w = 0; w < kWords; ++w) {                                       \
        words[i][w] = seed * (i + 1) + w * 77;                                 \
        sums[w] += words[i][w];                                                \
      }                                                                        \
    }                                                                          \
    Vector v[8];                                                               \
    std::memcpy(v, words, sizeof(v));                                          \
    const Vector r = function(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]); \
    return std::memcmp(&r, sums, sizeof(r)) == 0;                              \
  }

WIDE_GOOD(Good128, Add128, __m128i, "sse2")
WIDE_GOOD(Good256, Add256, __m256i, "avx2")
WIDE_GOOD(Good512, Add512, __m512i, "avx512f")

WIDE("avx2") void Clobber256() {
  asm volatile(
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
      "vpcmpeqd %%ymm\\r, %%ymm\\r, %%ymm\\r\n"
      ".endr\n" ::
          : "memory");
}

void Clobber128() {
  asm volatile(
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
      "pcmpeqd %%xmm\\r, %%xmm\\r\n"
      ".endr\n" ::
          : "memory");
}

bool HasAvx2() { return __builtin_cpu_supports("avx2") != 0; }

}  // namespace

std::vector<WideCase> wide_cases() {
  std::vector<WideCase> cases = {
      {"__m128", reinterpret_cast<void*>(&Add128), &Good128}};
  if (HasAvx2()) {
    cases.push_back({"__m256", reinterpret_cast<void*>(&Add256), &Good256});
  }
  if (HasAvx512()) {
    cases.push_back({"__m512", reinterpret_cast<void*>(&Add512), &Good512});
  }
  return cases;
}

void wide_clobber() {
  if (HasAvx512()) {
    ClobberVectors();
  } else if (HasAvx2()) {
    Clobber256();
  } else {
    Clobber128();
  }
}
