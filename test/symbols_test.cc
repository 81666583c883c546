// SPDX-License-Identifier: Apache-2.0
#include "symbols/symbols.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "loaded_copy.h"
#include "sample.h"

namespace retprobe {
namespace {

extern "C" __attribute__((noinline, used)) int symbols_test_static(int x) {
  return x + 1;
}

// For what must not be folded into a builtin, and for ifuncs' final address.
template <typename F>
uintptr_t Address(F* function) {
  F* volatile pointer = function;
  return reinterpret_cast<uintptr_t>(pointer);
}

bool HasName(const Function& function, const std::string& name) {
  return function.name == name ||
         std::count(function.aliases.begin(), function.aliases.end(), name) > 0;
}

std::vector<Function> FunctionsOf(const Module& module) {
  absl::StatusOr<std::vector<Function>> functions = ModuleFunctions(module);
  REQUIRE_MESSAGE(functions.ok(), functions.status().ToString());
  return *std::move(functions);
}

// All functions of a name: old and default versions may differ.
std::vector<Function> Named(const std::vector<Function>& functions,
                            const std::string& name) {
  std::vector<Function> found;
  std::copy_if(functions.begin(), functions.end(), std::back_inserter(found),
               [&](const Function& f) { return HasName(f, name); });
  return found;
}

Function TheOne(const Module& module, const std::string& name) {
  const std::vector<Function> found = Named(FunctionsOf(module), name);
  REQUIRE_MESSAGE(found.size() == 1, name << ": " << found.size());
  return found[0];
}

double Milliseconds(const Module& module, size_t* count) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    *count = FunctionsOf(module).size();
    const std::chrono::duration<double, std::milli> elapsed =
        std::chrono::steady_clock::now() - start;
    best = std::min(best, elapsed.count());
  }
  return best;
}

TEST_CASE("the main program comes first and is named after its file") {
  const std::vector<Module> modules = LoadedModules();
  char path[4096] = {};
  REQUIRE(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
  CHECK(modules[0].main_program);
  CHECK(modules[0].path == path);
  CHECK(modules[0].name == "symbols_test");
  CHECK(modules[0].Contains(Address(symbols_test_static)));
  for (const Module& module : modules) {
    CHECK(module.name.find("vdso") == std::string::npos);
    CHECK(module.begin < module.end);
  }
}

TEST_CASE("an address leads to its module") {
  const auto module = ModuleAt(Address(&write));
  REQUIRE(module.ok());
  CHECK(module->name == "libc.so.6");
  CHECK(ModuleAt(16).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("malloc of libc is found where the dynamic linker finds it") {
  const Function function = TheOne(ModuleNamed("libc.so.6"), "malloc");
  CHECK(function.address ==
        reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "malloc")));
  CHECK(function.name == "malloc");
  CHECK(HasName(function, "__libc_malloc"));
  CHECK(function.size > 100);
  CHECK(function.size < 10000);
  CHECK_FALSE(function.indirect);
}

TEST_CASE("an ifunc is unresolved until asked, then what a call reaches") {
  const std::vector<Function> functions = FunctionsOf(ModuleNamed("libc.so.6"));
  std::vector<Function> found = Named(functions, "strlen");
  found.erase(std::remove_if(found.begin(), found.end(),
                             [](const Function& f) { return !f.indirect; }),
              found.end());
  REQUIRE(found.size() == 1);
  Function& function = found[0];
  CHECK(function.address == 0);
  CHECK(function.resolver != 0);
  REQUIRE(ResolveIndirect(&function).ok());
  CHECK(function.address == Address<size_t(const char*)>(&strlen));
  CHECK(function.size > 16);
  CHECK(function.size < 4096);
}

TEST_CASE("every function of the sample library has address, size and names") {
  const Module module = ModuleNamed("libsymbols_sample.so");
  const Function exported = TheOne(module, "sample_exported");
  CHECK(exported.address == Address(sample_exported));
  CHECK(HasName(exported, "sample_alias"));
  CHECK(sample_alias(1) == 3);

  const Function hidden = TheOne(module, "sample_static");
  CHECK(hidden.address == reinterpret_cast<uintptr_t>(sample_static_address()));

  Function indirect = TheOne(module, "sample_ifunc");
  REQUIRE(ResolveIndirect(&indirect).ok());
  CHECK(indirect.address == TheOne(module, "sample_ifunc_chosen").address);
  CHECK(indirect.size == TheOne(module, "sample_ifunc_chosen").size);
  CHECK(reinterpret_cast<int (*)(int)>(indirect.address)(1) == 3);

  CHECK(TheOne(module, "sample_unsized").size == 12);
  CHECK(TheOne(module, "sample_unknown").size == 0);
}

TEST_CASE("a static function of the test itself is listed") {
  CHECK(TheOne(LoadedModules()[0], "symbols_test_static").address ==
        Address(symbols_test_static));
}

TEST_CASE("of a stripped library the exported functions remain") {
  const LoadedCopy copy("strip");
  const std::vector<Function> functions = FunctionsOf(copy.module());
  CHECK(Named(functions, "sample_static").empty());
  const std::vector<Function> found = Named(functions, "sample_exported");
  REQUIRE(found.size() == 1);
  CHECK(found[0].address == copy.Address("sample_exported"));
}

TEST_CASE("a library whose file is gone is read from memory") {
  const LoadedCopy copy("cp");
  REQUIRE(unlink(copy.path().c_str()) == 0);
  const std::vector<Function> functions = FunctionsOf(copy.module());
  CHECK(Named(functions, "sample_static").empty());
  const std::vector<Function> found = Named(functions, "sample_exported");
  REQUIRE(found.size() == 1);
  CHECK(found[0].address == copy.Address("sample_exported"));
}

TEST_CASE("listing a module takes milliseconds") {
  size_t count;
  const double libc = Milliseconds(ModuleNamed("libc.so.6"), &count);
  MESSAGE("libc: " << count << " functions in " << libc << " ms");
  CHECK(libc < 20);
  const double libstdcxx = Milliseconds(ModuleNamed("libstdc++"), &count);
  MESSAGE("libstdc++: " << count << " functions in " << libstdcxx << " ms");
  CHECK(libstdcxx < 60);
}

}  // namespace
}  // namespace retprobe
