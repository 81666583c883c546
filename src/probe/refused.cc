// SPDX-License-Identifier: Apache-2.0
#include "probe/refused.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "symbols/symbols.h"

namespace retprobe {
namespace {

// The few functions of a module that must not be probed, or only at their
// entry, by address.
using Refused = absl::flat_hash_map<uintptr_t, ProbeTerms>;

Refused RefusedOf(const Module& module) {
  Refused refused;
  const absl::StatusOr<std::vector<Function>> functions =
      ModuleFunctions(module);
  if (!functions.ok()) return refused;
  for (const Function& function : *functions) {
    if (function.address == 0) continue;
    ProbeTerms terms = {Probeable(module, function), WhyEntryOnly(function)};
    if (terms.status.ok() && terms.entry_only == nullptr) continue;
    refused.emplace(function.address, std::move(terms));
  }
  return refused;
}

}  // namespace

ProbeTerms TermsFor(const void* address) {
  static std::mutex mutex;
  // By where and what a module is: another may be loaded to the same place.
  static auto& modules =
      *new std::map<std::pair<uintptr_t, std::string>, Refused>;
  dl_find_object object;
  if (_dl_find_object(const_cast<void*>(address), &object) != 0) {
    return {};
  }
  const auto begin = reinterpret_cast<uintptr_t>(object.dlfo_map_start);
  std::lock_guard<std::mutex> lock(mutex);
  auto [it, fresh] = modules.try_emplace({begin, object.dlfo_link_map->l_name});
  if (fresh) {
    for (const Module& module : LoadedModules()) {
      if (module.begin <= begin && begin < module.end) {
        it->second = RefusedOf(module);
      }
    }
  }
  const auto found = it->second.find(reinterpret_cast<uintptr_t>(address));
  return found == it->second.end() ? ProbeTerms() : found->second;
}

}  // namespace retprobe
