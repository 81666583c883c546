// SPDX-License-Identifier: Apache-2.0
#include "probe/vfork_guard.h"

#include <dlfcn.h>

#include "rethook/guard.h"

extern "C" {
void retprobe_clone();
void retprobe_vfork();
}

namespace retprobe {
namespace {

ReturnProbeOptions SpawnOptions() {
  ReturnProbeOptions options;
  options.handlers_leave_vectors_alone = true;
  options.entry_handler = [](EntryContext&) noexcept {
    ++retprobe_guard.unseen;
    return true;
  };
  options.return_handler = [](ReturnContext&) noexcept {
    --retprobe_guard.unseen;
  };
  return options;
}

}  // namespace

Replacement ReplaceVfork() {
  return {dlsym(RTLD_DEFAULT, "vfork"),
          reinterpret_cast<const void*>(&retprobe_vfork)};
}

Replacement ReplaceClone() {
  return {dlsym(RTLD_DEFAULT, "clone"),
          reinterpret_cast<const void*>(&retprobe_clone)};
}

std::vector<ReturnProbe::Request> SpawnGuards() {
  std::vector<ReturnProbe::Request> requests;
  for (const char* name : {"posix_spawn", "posix_spawnp"}) {
    // Before 2.15 these ran scripts without an interpreter line; both versions
    // are code of their own.
    for (const char* version : {"GLIBC_2.15", "GLIBC_2.2.5"}) {
      void* function = dlvsym(RTLD_DEFAULT, name, version);
      if (function != nullptr) requests.push_back({function, SpawnOptions()});
    }
  }
  return requests;
}

}  // namespace retprobe
