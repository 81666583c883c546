// SPDX-License-Identifier: Apache-2.0
#include "symbols/find_function.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <string>

#include "base/nearest_name.h"
#include "loaded_modules.h"
#include "sample.h"

namespace retprobe {
namespace {

Function Found(const std::string& symbol) {
  const absl::StatusOr<Function> function = FindFunction(symbol);
  REQUIRE_MESSAGE(function.ok(), function.status().ToString());
  return *function;
}

std::string Error(const std::string& symbol, absl::StatusCode code) {
  const absl::StatusOr<Function> function = FindFunction(symbol);
  REQUIRE_MESSAGE(function.status().code() == code,
                  function.status().ToString());
  return std::string(function.status().message());
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr auto kNotFound = absl::StatusCode::kNotFound;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST_CASE("a function is found with and without its module") {
  const uintptr_t malloc_address = AddressIn("libc.so.6", "malloc");
  CHECK(Found("getppid").address == AddressIn("libc.so.6", "getppid"));
  CHECK(Found("libc.so.6:malloc").address == malloc_address);
  CHECK(Found("libc.so:malloc").address == malloc_address);
  CHECK(Found(ModuleNamed("libc.so.6").path + ":malloc").name == "malloc");
  CHECK(Found("sample_alias").address == Address(sample_exported));
}

TEST_CASE("of several versions the default one is found, ifuncs resolved") {
  for (const char* name : {"memcpy", "strlen"}) {
    CHECK(Found(std::string("libc.so.6:") + name).address ==
          AddressIn("libc.so.6", name));
  }
  CHECK(Found("sample_ifunc").address == Found("sample_ifunc_chosen").address);
}

TEST_CASE("C++ functions are found as written") {
  CHECK(Found("libstdc++.so.6:operator new(unsigned long)").address ==
        AddressIn("libstdc++.so.6", "_Znwm"));
  CHECK(Found("sample::Shape::Edges").name == "_ZN6sample5Shape5EdgesEv");
  CHECK(Found("sample::Shape::Area(int) const").name ==
        "_ZNK6sample5Shape4AreaEi");
  CHECK(Found("sample::Shape::Area( double )const").name ==
        "_ZNK6sample5Shape4AreaEd");
  CHECK(Found("sample::Shape::operator+").name == "_ZNK6sample5ShapeplERKS0_");
  CHECK(Found("sample::Twice<int>").name == "_ZN6sample5TwiceIiEET_S1_");
  CHECK(
      Found("libsymbols_sample.so:sample::(anonymous namespace)::Hidden").size >
      0);
  CHECK(Found("_ZN6sample5Shape5EdgesEv").address ==
        Found("sample::Shape::Edges").address);
}

TEST_CASE("overloads are told, not chosen from") {
  const std::string error = Error("sample::Shape::Area", kInvalid);
  CHECK(Contains(error, "names 2 functions"));
  CHECK(Contains(error, "libsymbols_sample.so:sample::Shape::Area(int) const"));
  CHECK(Contains(error, "sample::Shape::Area(double) const"));
}

TEST_CASE("one name in two modules is told, too") {
  const LoadedCopy copy("cp");
  CHECK(Contains(Error("sample_exported", kInvalid), "libcopy_of_sample.so:"));
  CHECK(Found("libcopy_of_sample.so:sample_exported").address ==
        copy.Address("sample_exported"));
}

TEST_CASE("a misspelt function is answered by the nearest name") {
  CHECK(Error("libc.so.6:mallok", kNotFound) ==
        "no function 'mallok' in libc.so.6; did you mean 'malloc'?");
  CHECK(Error("pthread_craete", kNotFound) ==
        "no function 'pthread_craete' in any loaded module; did you mean "
        "'pthread_create'?");
  CHECK(Contains(Error("sample::Shape::Edgse", kNotFound),
                 "did you mean 'sample::Shape::Edges'?"));
  CHECK_FALSE(Contains(Error("qqqqqqqqqqqqqqqqqqqqqqqqqqqq", kNotFound),
                       "did you mean"));
}

TEST_CASE("a misspelt module is answered by one like it") {
  CHECK(Error("libc:malloc", kNotFound) ==
        "no module 'libc' is loaded; did you mean 'libc.so.6'?");
  CHECK(Contains(Error("libstdc+:malloc", kNotFound), "'libstdc++.so"));
  CHECK(Contains(Error("lidc.so.6:malloc", kNotFound), "'libc.so.6'"));
  CHECK(Error("quux:malloc", kNotFound) == "no module 'quux' is loaded");
}

TEST_CASE("a function hidden in a stripped library is said to have no name") {
  const LoadedCopy copy("strip");
  CHECK(Contains(Error("libcopy_of_sample.so:zzzzzz", kNotFound),
                 "it is stripped"));
}

TEST_CASE("malformed symbols are refused") {
  Error("", kInvalid);
  Error("libc.so.6:", kInvalid);
  Error(":malloc", kInvalid);
}

TEST_CASE("the edit distance counts single slips") {
  CHECK(EditDistance("malloc", "malloc", 3) == 0);
  CHECK(EditDistance("mallok", "malloc", 3) == 1);
  CHECK(EditDistance("mlaloc", "malloc", 3) == 1);
  CHECK(EditDistance("maloc", "malloc", 3) == 1);
  CHECK(EditDistance("xmalloc", "malloc", 3) == 1);
  CHECK(EditDistance("kitten", "sitting", 3) == 3);
  CHECK(EditDistance("kitten", "sitting", 2) == 3);  // above the limit
  CHECK(EditDistance("", "abc", 5) == 3);
}

TEST_CASE("finding is quick, and so is failing") {
  const auto milliseconds = [](const char* symbol) {
    const auto start = std::chrono::steady_clock::now();
    (void)FindFunction(symbol);
    const std::chrono::duration<double, std::milli> elapsed =
        std::chrono::steady_clock::now() - start;
    return elapsed.count();
  };
  const double found = milliseconds("libc.so.6:malloc");
  const double missing = milliseconds("no_such_function_anywhere");
  MESSAGE("found in " << found << " ms, not found in " << missing << " ms");
  CHECK(found < 20);
  CHECK(missing < 500);
}

}  // namespace
}  // namespace retprobe
