// SPDX-License-Identifier: Apache-2.0
#include "agent/loader_hook.h"

#include <cstdint>
#include <vector>

#include "absl/strings/match.h"
#include "patch/entry_patch.h"
#include "symbols/symbols.h"

extern "C" void retprobe_entry_call();

namespace retprobe::agent {
namespace {

constexpr char kCatch[] = "_dl_catch_exception";

// See arch/x86_64/entry_call.S.
struct Site {
  void (*reached)();
  void (*function)(uint64_t first_argument);
  uintptr_t bypass;
};

// One for each copy of the function; they live as long as the process.
Site sites[4];
size_t sites_used = 0;
void (*modules_changed_function)() = nullptr;

void OnCatchException(uint64_t exception) {
  if (exception == 0) modules_changed_function();
}

bool MayHoldCatch(const Module& module) {
  return absl::StartsWith(module.name, "ld-linux") ||
         absl::StartsWith(module.name, "libc.so");
}

absl::StatusOr<EntryPatch*> Prepare(const Function& function) {
  if (sites_used == sizeof(sites) / sizeof(sites[0])) {
    return absl::InternalError("more copies than expected");
  }
  Site& site = sites[sites_used];
  site.reached = retprobe_entry_call;
  site.function = OnCatchException;
  auto patch = PrepareEntryPatch(function.address, function.size, &site);
  if (!patch.ok()) return patch;
  site.bypass = (*patch)->bypass();
  ++sites_used;
  return patch;
}

}  // namespace

absl::Status HookLoader(void (*modules_changed)()) {
  modules_changed_function = modules_changed;
  std::vector<EntryPatch*> patches;
  for (const Module& module : LoadedModules()) {
    if (!MayHoldCatch(module)) continue;
    auto functions = ModuleFunctions(module);
    if (!functions.ok()) continue;
    for (const Function& function : *functions) {
      if (function.name != kCatch) continue;
      auto patch = Prepare(function);
      if (!patch.ok()) return patch.status();
      patches.push_back(*patch);
    }
  }
  if (patches.empty()) {
    return absl::NotFoundError("the dynamic linker has no _dl_catch_exception");
  }
  return ArmEntryPatches(patches);
}

}  // namespace retprobe::agent
