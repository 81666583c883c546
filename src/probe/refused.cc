// SPDX-License-Identifier: Apache-2.0
#include "probe/refused.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace retprobe {
namespace {

// The few functions of a module that must not be probed, or only at their
// entry, by address.
using Refused = absl::flat_hash_map<uintptr_t, ProbeTerms>;

absl::Status NotOnBlacklist(const Module& module, const Function& function,
                            const Blacklist& blacklist) {
  for (const Pattern& pattern : blacklist.patterns) {
    if (!pattern.MatchesModule(module) || !pattern.MatchesFunction(function)) {
      continue;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        function.name,
        " is on the blacklist (probe.blacklist: ", pattern.text(), ")"));
  }
  return absl::OkStatus();
}

Refused RefusedOf(const Module& module, const Blacklist& blacklist) {
  Refused refused;
  const absl::StatusOr<std::vector<Function>> functions =
      ModuleFunctions(module);
  if (!functions.ok()) return refused;
  for (Function function : *functions) {
    ProbeTerms terms = {Probeable(module, function),
                        WhyEntryOnly(module, function)};
    const bool may_resolve = terms.status.ok();
    terms.status.Update(NotOnBlacklist(module, function, blacklist));
    if (terms.status.ok() && terms.entry_only == nullptr) continue;
    if (may_resolve) ResolveIndirect(&function).IgnoreError();
    if (function.address == 0) continue;
    refused.emplace(function.address, std::move(terms));
  }
  return refused;
}

}  // namespace

absl::StatusOr<Blacklist> Blacklist::Parse(absl::string_view text) {
  Blacklist blacklist;
  blacklist.text = std::string(text);
  for (absl::string_view part : absl::StrSplit(text, ';')) {
    part = absl::StripAsciiWhitespace(part);
    if (part.empty()) continue;
    absl::StatusOr<Pattern> pattern = Pattern::Parse(part);
    if (!pattern.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("probe.blacklist: ", pattern.status().message()));
    }
    blacklist.patterns.push_back(*std::move(pattern));
  }
  return blacklist;
}

ProbeTerms TermsFor(const void* address, const Blacklist& blacklist) {
  static std::mutex mutex;
  // By where and what a module is: another may be loaded to the same place; and
  // by the blacklist.
  static auto& modules =
      *new std::map<std::tuple<uintptr_t, std::string, std::string>, Refused>;
  dl_find_object object;
  if (_dl_find_object(const_cast<void*>(address), &object) != 0) {
    return {};
  }
  const auto begin = reinterpret_cast<uintptr_t>(object.dlfo_map_start);
  std::lock_guard<std::mutex> lock(mutex);
  auto [it, fresh] = modules.try_emplace(
      {begin, object.dlfo_link_map->l_name, blacklist.text});
  if (fresh) {
    for (const Module& module : LoadedModules()) {
      if (module.begin <= begin && begin < module.end) {
        it->second = RefusedOf(module, blacklist);
      }
    }
  }
  const auto found = it->second.find(reinterpret_cast<uintptr_t>(address));
  return found == it->second.end() ? ProbeTerms() : found->second;
}

}  // namespace retprobe
