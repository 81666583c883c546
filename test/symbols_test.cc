// SPDX-License-Identifier: Apache-2.0
#include "symbols/symbols.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/escaping.h"
#include "loaded_modules.h"
#include "sample.h"
#include "symbols/build_identity.h"
#include "symbols/dynamic_table.h"
#include "symbols/elf_file.h"
#include "symbols/module_symbols.h"

// Not exported: in the static table only.
extern "C" __attribute__((noinline, visibility("hidden"))) int
symbols_test_static(int x) {
  return x + 1;
}

namespace retprobe {
namespace {

bool HasName(const Function& function, const std::string& name) {
  return function.name == name ||
         std::count(function.aliases.begin(), function.aliases.end(), name) > 0;
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
  CHECK(modules[0].main_program);
  CHECK(modules[0].name == "symbols_test");
  CHECK(std::filesystem::exists(modules[0].path));
  CHECK(modules[0].Contains(Address(symbols_test_static)));
  for (const Module& module : modules) {
    CHECK(module.name.find("vdso") == std::string::npos);
    CHECK(module.begin < module.end);
  }
}

TEST_CASE("a program that was started through the dynamic linker is found") {
  const std::string command = ModuleNamed("ld-linux").path + " " +
                              LoadedModules()[0].path +
                              " '-tc=the main program*,a static function*'";
  CHECK(std::system((command + " >&2").c_str()) == 0);
}

TEST_CASE("a module that was loaded by a relative path has an absolute one") {
  const std::filesystem::path before = std::filesystem::current_path();
  const LoadedCopy other("cp");
  std::filesystem::current_path(
      std::filesystem::path(other.path()).parent_path());
  REQUIRE(std::system("cp libcopy_of_sample.so librelative.so") == 0);
  void* handle = dlopen("./librelative.so", RTLD_NOW | RTLD_LOCAL);
  std::filesystem::current_path(before);
  REQUIRE(handle != nullptr);
  const Module module = ModuleNamed("librelative.so");
  CHECK(std::filesystem::path(module.path).parent_path() ==
        std::filesystem::path(other.path()).parent_path());
  CHECK(TheOne(module, "sample_static").size > 0);
  dlclose(handle);
}

TEST_CASE("an address leads to its module") {
  const auto module = ModuleAt(Address(&getppid));
  REQUIRE(module.ok());
  CHECK(module->name == "libc.so.6");
  CHECK(ModuleAt(16).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("malloc of libc is found where the dynamic linker finds it") {
  const Function function = TheOne(ModuleNamed("libc.so.6"), "malloc");
  CHECK(function.address == AddressIn("libc.so.6", "malloc"));
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
  CHECK(function.address == AddressIn("libc.so.6", "strlen"));
  const uintptr_t called = Address<size_t(const char*)>(&strlen);
  if (ModuleNamed("libc.so.6").Contains(called)) {  // not interposed
    CHECK(function.address == called);
  }
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
  CHECK(indirect.address == Address(sample_ifunc));
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

// The exported functions of a library whose file is of no use are there, others
// are not.
void CheckReadFromMemory(const LoadedCopy& copy) {
  const absl::StatusOr<ModuleSymbols> symbols =
      ModuleSymbols::Read(copy.module());
  REQUIRE(symbols.ok());
  CHECK(symbols->from_memory());
  const std::vector<Function> functions = FunctionsOf(copy.module());
  CHECK(Named(functions, "sample_static").empty());
  CHECK(Named(functions, "_ZN6sample5Shape5EdgesEv").size() == 1);
  const std::vector<Function> found = Named(functions, "sample_exported");
  REQUIRE(found.size() == 1);
  CHECK(found[0].address == copy.Address("sample_exported"));
}

TEST_CASE("a library whose file is gone is read from memory") {
  const LoadedCopy copy("cp");
  REQUIRE(unlink(copy.path().c_str()) == 0);
  CheckReadFromMemory(copy);
}

TEST_CASE("a library whose file is another one now is read from memory") {
  const LoadedCopy copy("cp");
  for (const std::string& other :
       {ModuleNamed("libc.so.6").path, std::string("/etc/passwd")}) {
    REQUIRE(unlink(copy.path().c_str()) == 0);
    std::filesystem::copy_file(other, copy.path());
    CheckReadFromMemory(copy);
  }
}

TEST_CASE("the build-id alone tells two builds apart") {
  const LoadedCopy copy("cp");
  const Module module = copy.module();
  std::ifstream file(copy.path(), std::ios::binary);
  std::string image(std::istreambuf_iterator<char>(file), {});
  CHECK(SameBuild(module, image));
  const std::string id = BuildId(module);
  REQUIRE(id.size() == 40);
  const size_t at = image.find(absl::HexStringToBytes(id));
  REQUIRE(at != std::string::npos);
  image[at] ^= 1;
  CHECK_FALSE(SameBuild(module, image));
  CHECK_FALSE(SameBuild(module, image.substr(0, 100)));
}

TEST_CASE("the table in memory is the file's dynamic one") {
  for (const Module& module : LoadedModules()) {
    const auto memory = DynamicTable(module);
    const auto file = ElfFile::Open(module.path);
    REQUIRE(memory.ok());
    REQUIRE(file.ok());
    const ElfFile::SymbolTable table = file->Symbols(SHT_DYNSYM);
    REQUIRE(memory->count == table.count);
    CHECK(std::memcmp(memory->symbols, table.symbols,
                      table.count * sizeof(Elf64_Sym)) == 0);
    CHECK(memory->strings == table.strings);
    CHECK((memory->versions != nullptr) == (table.versions != nullptr));
  }
}

TEST_CASE("a separate debug file gives back the static functions") {
  const Module libc = ModuleNamed("libc.so.6");
  const std::string id = BuildId(libc);
  if (!std::filesystem::exists("/usr/lib/debug/.build-id/" + id.substr(0, 2) +
                               "/" + id.substr(2) + ".debug")) {
    MESSAGE("skipped: libc6-dbg is not installed");
    return;
  }
  const Function function = TheOne(libc, "_int_malloc");
  CHECK(function.size > 1000);
  const FunctionBounds bounds = BoundsFromUnwindTable(function.address);
  CHECK(bounds.begin == function.address);
}

TEST_CASE("functions come in order, one per address, cold parts left out") {
  for (const Module& module : LoadedModules()) {
    uintptr_t last = 0;
    for (const Function& function : FunctionsOf(module)) {
      CHECK_FALSE(function.name.empty());
      CHECK(function.name.find('@') == std::string::npos);
      CHECK(function.name.find(".cold") == std::string::npos);
      CHECK(function.indirect == (function.resolver != 0));
      const uintptr_t address =
          function.indirect ? function.resolver : function.address;
      // A resolver may be listed as a function, too.
      CHECK(address >= last);
      CHECK(module.Contains(address));
      last = address;
    }
  }
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
