// SPDX-License-Identifier: Apache-2.0
#include "symbols/pattern.h"

#include <doctest/doctest.h>
#include <fnmatch.h>

#include <random>
#include <string>
#include <vector>

#include "symbols/cxx_name.h"
#include "symbols/glob.h"

namespace retprobe {
namespace {

Module ModuleAtPath(const std::string& path) {
  Module module{};
  module.path = path;
  module.name = path.substr(path.rfind('/') + 1);
  return module;
}

bool MatchesFunction(const std::string& pattern, const std::string& name) {
  Function function;
  function.name = "unrelated";
  function.aliases = {name};
  return Pattern::Parse(pattern).value().MatchesFunction(function);
}

bool MatchesModule(const std::string& pattern, const std::string& path) {
  return Pattern::Parse(pattern).value().MatchesModule(ModuleAtPath(path));
}

std::string ErrorOf(const std::string& pattern) {
  const absl::StatusOr<Pattern> parsed = Pattern::Parse(pattern);
  REQUIRE(parsed.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

TEST_CASE("a pattern without a module matches in every module") {
  CHECK(MatchesModule("malloc", "/lib/libc.so.6"));
  CHECK(MatchesFunction("malloc", "malloc"));
  CHECK_FALSE(MatchesFunction("malloc", "mallocx"));
  CHECK_FALSE(MatchesFunction("malloc", "xmalloc"));
}

TEST_CASE("the module part matches names and paths, with and without version") {
  const std::string libc = "/lib/x86_64-linux-gnu/libc.so.6";
  CHECK(MatchesModule("libc.so.6:malloc", libc));
  CHECK(MatchesModule("libc.so:malloc", libc));
  CHECK(MatchesModule("libc.so*:malloc", libc));
  CHECK(MatchesModule("/lib/*/libc.so:malloc", libc));
  CHECK(MatchesModule(libc + ":malloc", libc));
  CHECK_FALSE(MatchesModule("libc:malloc", libc));
  CHECK_FALSE(MatchesModule("libstdc++*:*alloc*", libc));
  CHECK(MatchesModule("libstdc++*:*alloc*", "/lib/libstdc++.so.6.0.30"));
}

TEST_CASE("the colons of C++ names do not separate the module") {
  CHECK(MatchesModule("ns::f", "/any"));
  CHECK(MatchesFunction("ns::f", "_ZN2ns1fEi"));
  CHECK(MatchesModule("prog:ns::f", "/bin/prog"));
  CHECK_FALSE(MatchesModule("prog:ns::f", "/bin/other"));
  CHECK(MatchesFunction("prog:ns::f", "_ZN2ns1fEi"));
  CHECK(MatchesModule("[[:a]x:f", "/bin/:x"));
}

TEST_CASE("C++ functions match mangled, demangled and without parameters") {
  const std::string name = "_ZNSt6vectorIiSaIiEE9push_backERKi";
  CHECK(MatchesFunction("_ZNSt6vector*", name));
  CHECK(MatchesFunction("std::vector<*>::push_back", name));
  CHECK(MatchesFunction("std::vector<*>::push_back(int const&)", name));
  CHECK_FALSE(MatchesFunction("std::vector<*>::push_back(long*)", name));
  CHECK_FALSE(MatchesFunction("push_back", name));
  CHECK(MatchesFunction("*alloc*", "_ZN9__gnu_cxx13new_allocatorIcE4freeEv"));
  CHECK(MatchesFunction("operator new", "_Znwm"));
  CHECK(MatchesFunction("operator new\\[\\]", "_Znam"));
  CHECK_FALSE(MatchesFunction("float", "f"));
}

TEST_CASE("a malformed pattern is refused with its column") {
  CHECK(ErrorOf("") == "empty pattern");
  CHECK(ErrorOf("libc:mal[lo").find("column 9") != std::string::npos);
  CHECK(ErrorOf("malloc\\").find("column 7") != std::string::npos);
  CHECK(ErrorOf(":malloc").find("column 1") != std::string::npos);
  CHECK(ErrorOf("libc.so.6:").find("column 11") != std::string::npos);
}

TEST_CASE("globs match as fnmatch does") {
  std::mt19937 random(20240607);
  const std::string glob_alphabet = "ab*?[]!-\\";
  const std::string text_alphabet = "ab-]!";
  const auto word = [&random](const std::string& alphabet, size_t longest) {
    std::string result(random() % (longest + 1), ' ');
    for (char& c : result) c = alphabet[random() % alphabet.size()];
    return result;
  };
  size_t matches = 0;
  size_t tried = 0;
  while (tried < 100000) {
    const std::string glob = word(glob_alphabet, 8);
    if (!glob.empty() && !Pattern::Parse(glob).ok()) continue;
    // What "[b-a]" and a '-' at a range's end mean differs between shells.
    if (glob.find('[') != std::string::npos &&
        glob.find('-') != std::string::npos) {
      continue;
    }
    const std::string text = word(text_alphabet, 6);
    const bool expected = fnmatch(glob.c_str(), text.c_str(), 0) == 0;
    CHECK_MESSAGE(GlobMatches(glob, text) == expected, glob << " " << text);
    matches += expected;
    ++tried;
  }
  CHECK(matches > 1000);
}

TEST_CASE("sets know ranges, negation and a bracket that comes first") {
  CHECK(GlobMatches("str[a-ln]en", "strlen"));
  CHECK_FALSE(GlobMatches("str[!a-l]en", "strlen"));
  CHECK(GlobMatches("str[^x-z]en", "strlen"));
  CHECK(GlobMatches("a[]]b", "a]b"));
  CHECK(GlobMatches("a[!]]b", "axb"));
  CHECK(GlobMatches("a[b-]c", "a-c"));
  CHECK(GlobMatches("a[\\]]c", "a]c"));
  CHECK(GlobMatches("\\*", "*"));
  CHECK_FALSE(GlobMatches("\\*", "x"));
}

TEST_CASE("many stars do not take exponential time") {
  const std::string text(200, 'a');
  std::string glob;
  for (int i = 0; i < 50; ++i) glob += "*a";
  CHECK(GlobMatches(glob, text));
  CHECK_FALSE(GlobMatches(glob + "b", text));
}

TEST_CASE("a qualified name is the demangled one without its rest") {
  const auto qualified = [](const char* mangled) {
    return std::string(QualifiedName(Demangle(mangled)));
  };
  CHECK(qualified("_ZN2ns1fEi") == "ns::f");
  CHECK(qualified("_ZNK2ns1C1fEv") == "ns::C::f");
  CHECK(qualified("_Z5TwiceIiET_S0_") == "Twice<int>");
  CHECK(qualified("_ZN12_GLOBAL__N_11fEv") == "(anonymous namespace)::f");
  CHECK(qualified("_ZZ1fiENKUlvE_clEv") == "f(int)::{lambda()#1}::operator()");
  CHECK(qualified("_ZlsRSoi") == "operator<<");
  CHECK(qualified("_ZNK1CcvbEv") == "C::operator bool");
  CHECK(qualified("_ZNK1CptEv") == "C::operator->");
  CHECK(qualified("_ZNK1CclEi") == "C::operator()");
  CHECK(qualified("_ZStlsISt11char_traitsIcEERSt13basic_ostreamIcT_ES5_PKc") ==
        "std::operator<< <std::char_traits<char> >");
  CHECK(qualified("_ZThn8_N1C1fEv") == "non-virtual thunk to C::f()");
  CHECK(qualified("malloc") == "malloc");
}

}  // namespace
}  // namespace retprobe
