// SPDX-License-Identifier: Apache-2.0
//
// Arguments and results of every class pass a probe whose handlers change all
// vector registers, and so do values that callers keep in registers which a
// function is known to leave alone.
#include <doctest/doctest.h>

#include <atomic>
#include <complex>
#include <cstdarg>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "probe/registry.h"
#include "retprobe/return_probe.h"
#include "target.h"
#include "values/kept.h"
#include "values/kept_across.h"
#include "values/wide.h"

struct Large {
  long words[7];
};
struct Pair {
  double number;
  long word;
};

TARGET double variadic(const char* types, ...) {
  va_list list;
  va_start(list, types);
  double sum = 0;
  for (int factor = 1; *types != '\0'; ++types, ++factor) {
    sum += factor * (*types == 'd' ? va_arg(list, double)
                                   : static_cast<double>(va_arg(list, long)));
  }
  va_end(list);
  return sum;
}

TARGET long large_by_value(long a, Large large, long b) {
  asm volatile("");
  return a + 2 * large.words[0] + 3 * large.words[6] + 5 * b;
}

TARGET Large large_result(long a, double x) {
  asm volatile("");
  return {{a, a + 1, a + 2, a + 3, a + 4, a + 5, static_cast<long>(x)}};
}

TARGET Pair pair_result(double x, long a) {
  asm volatile("");
  return {x / 2, a * 2};
}

TARGET __int128 add_wide_integers(__int128 a, __int128 b) {
  asm volatile("");
  return a + b;
}

TARGET float add_floats(float a, float b) {
  asm volatile("");
  return a + b;
}

TARGET double add_doubles(double a, double b) {
  asm volatile("");
  return a + b;
}

TARGET long double add_long_doubles(long double a, long double b) {
  asm volatile("");
  return a + b;
}

TARGET _Complex float add_complex_floats(_Complex float a, _Complex float b) {
  asm volatile("");
  return a + b;
}

TARGET _Complex double add_complex_doubles(_Complex double a,
                                           _Complex double b) {
  asm volatile("");
  return a + b;
}

TARGET _Complex long double add_complex_long_doubles(_Complex long double a,
                                                     _Complex long double b) {
  asm volatile("");
  return a + b;
}

extern "C" {
long variant_endbr(long a, long b, double x);
long variant_frame_pointer(long a, long b, double x);
long variant_no_unwind_table(long a, long b, double x);
}

// 206 integer arguments, 200 of them on the stack.
template <size_t>
using Long = long;

template <size_t... kIndex>
struct Many {
  __attribute__((noinline, noclone)) static long Call(Long<kIndex>... values) {
    asm volatile("");
    return ((values * static_cast<long>(kIndex + 1)) + ...);
  }
  static long Run(long seed) {
    return Call((seed + static_cast<long>(kIndex))...);
  }
  static long Expected(long seed) {
    return (
        ((seed + static_cast<long>(kIndex)) * static_cast<long>(kIndex + 1)) +
        ...);
  }
};

template <size_t... kIndex>
Many<kIndex...> ManyOf(std::index_sequence<kIndex...>);
using Many206 = decltype(ManyOf(std::make_index_sequence<206>()));

namespace retprobe {
namespace {

struct Case {
  const char* name;
  void* function;
  bool (*good)(long seed);  // calls it; the result is right
};

void* Address(auto* function) { return reinterpret_cast<void*>(function); }

template <typename Complex, typename Real>
Complex MakeComplex(Real real, Real imaginary) {
  Complex z;
  __real__ z = real;
  __imag__ z = imaginary;
  return z;
}

bool VariantGood(long (*function)(long, long, double), long s) {
  return function(s, s + 1, static_cast<double>(s)) ==
         s + 2 * (s + 1) + 3 * s + 1;
}

const Case kCases[] = {
    {"variadic", Address(&variadic),
     [](long s) {
       const double d = static_cast<double>(s);
       return variadic("ldldldlddddddd", s, d, s, d, s, d, s, d, d, d, d, d, d,
                       d) == 105 * d &&
              variadic("lll", s, s, s) == 6 * d;
     }},
    {"a struct of 56 bytes by value", Address(&large_by_value),
     [](long s) {
       return large_by_value(s, {{s + 1, 0, 0, 0, 0, 0, s + 2}}, s + 3) ==
              11 * s + 2 + 6 + 15;
     }},
    {"a result by hidden pointer", Address(&large_result),
     [](long s) {
       const Large r = large_result(s, static_cast<double>(s));
       return r.words[0] == s && r.words[5] == s + 5 && r.words[6] == s;
     }},
    {"a result in a vector and a general register", Address(&pair_result),
     [](long s) {
       const Pair r = pair_result(static_cast<double>(s), s);
       return r.number == static_cast<double>(s) / 2 && r.word == 2 * s;
     }},
    {"__int128", Address(&add_wide_integers),
     [](long s) {
       const __int128 a = (static_cast<__int128>(s) << 70) + 1;
       return add_wide_integers(a, a) == 2 * a;
     }},
    {"float", Address(&add_floats),
     [](long s) {
       const auto x = static_cast<float>(s % 1000);
       return add_floats(x, 0.5f) == x + 0.5f;
     }},
    {"double", Address(&add_doubles),
     [](long s) {
       const auto x = static_cast<double>(s);
       return add_doubles(x, 0.5) == x + 0.5;
     }},
    {"long double", Address(&add_long_doubles),
     [](long s) {
       const long double x = static_cast<long double>(s) / 3;
       return add_long_doubles(x, 0.25L) == x + 0.25L;
     }},
    {"_Complex float", Address(&add_complex_floats),
     [](long s) {
       const auto x = static_cast<float>(s % 1000);
       const _Complex float r =
           add_complex_floats(MakeComplex<_Complex float>(x, 1.0f), 2.0f);
       return __real__ r == x + 2 && __imag__ r == 1;
     }},
    {"_Complex double", Address(&add_complex_doubles),
     [](long s) {
       const auto x = static_cast<double>(s);
       const _Complex double r =
           add_complex_doubles(MakeComplex<_Complex double>(x, -x), 2.0);
       return __real__ r == x + 2 && __imag__ r == -x;
     }},
    {"_Complex long double", Address(&add_complex_long_doubles),
     [](long s) {
       const long double x = static_cast<long double>(s) / 3;
       const _Complex long double r = add_complex_long_doubles(
           MakeComplex<_Complex long double>(x, -x), 2.0L);
       return __real__ r == x + 2 && __imag__ r == -x;
     }},
    {"200 arguments on the stack", Address(&Many206::Call),
     [](long s) { return Many206::Run(s) == Many206::Expected(s); }},
    {"a function that begins with endbr64", Address(&variant_endbr),
     [](long s) { return VariantGood(&variant_endbr, s); }},
    {"a function with a frame pointer", Address(&variant_frame_pointer),
     [](long s) { return VariantGood(&variant_frame_pointer, s); }},
    {"a function without unwind table", Address(&variant_no_unwind_table),
     [](long s) { return VariantGood(&variant_no_unwind_table, s); }},
    {"a caller that keeps values in registers", kept_in_unit().callee,
     [](long s) {
       return kept_in_unit().call(s) == kept_in_unit().expected(s);
     }},
    {"a caller that keeps values by link-time optimization",
     kept_by_lto().callee,
     [](long s) { return kept_by_lto().call(s) == kept_by_lto().expected(s); }},
};

struct Counts {
  std::atomic<long> entries{0};
  std::atomic<long> returns{0};
};

// Handlers that change every vector register there is.
ReturnProbeOptions Clobbering(Counts& counts) {
  ReturnProbeOptions options;
  options.entry_handler = [&counts](EntryContext&) noexcept {
    ++counts.entries;
    wide_clobber();
    return true;
  };
  options.return_handler = [&counts](ReturnContext& context) noexcept {
    counts.returns += context.reason() == EndReason::kReturned;
    wide_clobber();
  };
  return options;
}

constexpr long kCalls = 400;

void CallProbed(const Case& tried, int threads) {
  CAPTURE(std::string(tried.name));
  CAPTURE(threads);
  Counts counts;
  auto probe = ReturnProbe::Attach(tried.function, Clobbering(counts));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  std::atomic<long> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < threads; ++t) {
    callers.emplace_back([&, t] {
      for (long i = 0; i < kCalls / threads; ++i) {
        if (!tried.good(i * 1009 + t)) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
  CHECK(counts.entries >= kCalls);
  CHECK(counts.entries == counts.returns);
  CHECK(probe->nmissed().total() == 0);
  probe->Detach();
  CHECK(Registry::Get().InstancesInUse() == 0);
  CHECK(tried.good(3));
}

TEST_CASE("arguments and results of every class pass a probe") {
  for (const Case& tried : kCases) {
    for (const int threads : {1, 2, 8}) CallProbed(tried, threads);
  }
}

TEST_CASE("vectors of every width pass a probe") {
  for (const WideCase& wide : wide_cases()) {
    for (const int threads : {1, 2, 8}) {
      CallProbed({wide.name, wide.function, wide.good}, threads);
    }
  }
}

// Else the two cases above with kept values would show nothing.
TEST_CASE("the callers that should keep values in registers do") {
#if defined(__GNUC__) && !defined(__clang__)
  for (const KeptCase& kept : {kept_in_unit(), kept_by_lto()}) {
    const std::string registers = KeptAcross(kept.caller, kept.callee);
    CAPTURE(registers);
    CHECK(registers.find("r10 ") != std::string::npos);
    CHECK(registers.find("r11 ") != std::string::npos);
    CHECK(registers.find("xmm") != std::string::npos);
  }
#endif
}

// The negative control: what a probe that lost vector registers would do.
TEST_CASE("a value that is lost is noticed") {
  ReturnProbeOptions options;
  options.handlers_leave_vectors_alone = true;  // a lie
  options.return_handler = [](ReturnContext&) noexcept { wide_clobber(); };
  auto probe = ReturnProbe::Attach(Address(&add_doubles), std::move(options));
  REQUIRE(probe.ok());
  volatile double one = 1;
  CHECK(add_doubles(one, one) != 2);
}

}  // namespace
}  // namespace retprobe
