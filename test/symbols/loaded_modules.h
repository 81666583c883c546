// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_SYMBOLS_LOADED_MODULES_H_
#define RETPROBE_TEST_SYMBOLS_LOADED_MODULES_H_

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "symbols/function.h"
#include "symbols/module.h"

namespace retprobe {

// The loaded module whose name starts with `name`.
inline Module ModuleNamed(const std::string& name) {
  for (const Module& module : LoadedModules()) {
    if (module.name.rfind(name, 0) == 0) return module;
  }
  FAIL("not loaded: " << name);
  return {};
}

// Where a call through a pointer goes: of an ifunc, what the dynamic linker
// bound.
template <typename F>
uintptr_t Address(F* function) {
  F* volatile pointer = function;
  return reinterpret_cast<uintptr_t>(pointer);
}

// What the dynamic linker finds in `library` itself, whoever interposes it.
inline uintptr_t AddressIn(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  REQUIRE(handle != nullptr);
  const uintptr_t address = reinterpret_cast<uintptr_t>(dlsym(handle, name));
  dlclose(handle);
  return address;
}

inline std::vector<Function> FunctionsOf(const Module& module) {
  absl::StatusOr<std::vector<Function>> functions = ModuleFunctions(module);
  REQUIRE_MESSAGE(functions.ok(), functions.status().ToString());
  return *std::move(functions);
}

// A copy of the sample library in a directory of its own, made by `command`
// ("strip" or "cp"; source and target follow), and loaded.
class LoadedCopy {
 public:
  explicit LoadedCopy(const std::string& command) {
    char directory[] = "/tmp/retprobe_symbols_XXXXXX";
    REQUIRE(mkdtemp(directory) != nullptr);
    directory_ = directory;
    // Of its own name, so that ModuleNamed() tells it from the original.
    path_ = directory_ + "/libcopy_of_sample.so";
    const std::string source = ModuleNamed("libsymbols_sample.so").path;
    REQUIRE(std::system((command + " " + source +
                         (command == "strip" ? " -o " : " ") + path_)
                            .c_str()) == 0);
    handle_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    REQUIRE_MESSAGE(handle_ != nullptr, dlerror());
  }
  LoadedCopy(const LoadedCopy&) = delete;
  LoadedCopy& operator=(const LoadedCopy&) = delete;
  ~LoadedCopy() {
    dlclose(handle_);
    std::filesystem::remove_all(directory_);
  }

  const std::string& path() const { return path_; }
  Module module() const { return ModuleNamed("libcopy_of_sample.so"); }
  uintptr_t Address(const char* name) const {
    return reinterpret_cast<uintptr_t>(dlsym(handle_, name));
  }

 private:
  std::string directory_;
  std::string path_;
  void* handle_;
};

}  // namespace retprobe

#endif  // RETPROBE_TEST_SYMBOLS_LOADED_MODULES_H_
