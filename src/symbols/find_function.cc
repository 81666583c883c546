// SPDX-License-Identifier: Apache-2.0
#include "symbols/find_function.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/nearest_name.h"
#include "symbols/cxx_name.h"
#include "symbols/entry_offset.h"
#include "symbols/function_builder.h"
#include "symbols/module.h"
#include "symbols/module_symbols.h"
#include "symbols/name_query.h"
#include "symbols/symbol_name.h"

namespace retprobe {
namespace {

constexpr size_t kMaxCandidatesShown = 4;

struct LoadedSymbols {
  Module module;
  ModuleSymbols symbols;
};

struct Candidate {
  int rank;  // the lowest one wins
  const LoadedSymbols* source;
  const ElfSymbol* symbol;
};

bool NamesModule(absl::string_view text, const Module& module) {
  return text == module.name || text == module.path ||
         text == WithoutSoVersion(module.name) ||
         text == WithoutSoVersion(module.path);
}

absl::Status NoSuchModule(absl::string_view wanted,
                          const std::vector<Module>& modules) {
  NearestName nearest(wanted);
  std::string like;
  for (const Module& module : modules) {
    nearest.Offer(module.name);
    nearest.Offer(WithoutSoVersion(module.name), module.name);
    // "libc" or "c" for libc.so.6
    if (like.empty() &&
        (absl::StartsWith(module.name, wanted) ||
         absl::StartsWith(module.name, absl::StrCat("lib", wanted, ".")))) {
      like = module.name;
    }
  }
  if (like.empty()) like = nearest.best();
  return absl::NotFoundError(absl::StrCat(
      "no module '", wanted, "' is loaded",
      like.empty() ? "" : absl::StrCat("; did you mean '", like, "'?")));
}

// The symbols of all modules that `wanted` names; of all, when it is empty.
absl::StatusOr<std::vector<LoadedSymbols>> ReadModules(
    absl::string_view wanted) {
  std::vector<Module> modules = LoadedModules();
  std::vector<LoadedSymbols> loaded;
  absl::Status error;
  for (Module& module : modules) {
    if (!wanted.empty() && !NamesModule(wanted, module)) continue;
    absl::StatusOr<ModuleSymbols> symbols = ModuleSymbols::Read(module);
    if (symbols.ok()) {
      loaded.push_back({std::move(module), *std::move(symbols)});
    } else {
      error.Update(symbols.status());
    }
  }
  if (!loaded.empty()) return loaded;
  return error.ok() ? NoSuchModule(wanted, modules) : error;
}

std::vector<Candidate> Candidates(absl::string_view name,
                                  const std::vector<LoadedSymbols>& loaded) {
  const NameQuery query(name);
  std::vector<Candidate> found;
  for (const LoadedSymbols& source : loaded) {
    for (const ElfSymbol& symbol : source.symbols.symbols()) {
      const NameQuery::Kind kind = query.Match(symbol.name);
      if (kind == NameQuery::kNone) continue;
      const int by_name = kind == NameQuery::kSymbol ? 0 : 1;
      const int by_table = !symbol.exported ? 2 : symbol.old_version ? 1 : 0;
      found.push_back({3 * by_name + by_table, &source, &symbol});
    }
  }
  return found;
}

// Leaves one candidate per function, of the best rank only.
void KeepBest(std::vector<Candidate>* candidates) {
  const auto key = [](const Candidate& c) {
    return std::make_tuple(c.rank, c.symbol->address, c.symbol->indirect);
  };
  std::sort(candidates->begin(), candidates->end(),
            [key](const auto& a, const auto& b) { return key(a) < key(b); });
  const auto last = std::unique(
      candidates->begin(), candidates->end(),
      [key](const auto& a, const auto& b) { return key(a) == key(b); });
  candidates->erase(last, candidates->end());
  while (candidates->back().rank > candidates->front().rank) {
    candidates->pop_back();
  }
}

absl::Status NoSuchFunction(absl::string_view module, absl::string_view name,
                            const std::vector<LoadedSymbols>& loaded) {
  NearestName nearest(name);
  bool stripped = false;
  for (const LoadedSymbols& source : loaded) {
    stripped = stripped || source.symbols.stripped();
    for (const ElfSymbol& symbol : source.symbols.symbols()) {
      nearest.Offer(symbol.name);
      if (!absl::StartsWith(symbol.name, "_Z")) continue;
      const std::string demangled = Demangle(symbol.name);
      nearest.Offer(QualifiedName(demangled));
    }
  }
  std::string text = absl::StrCat(
      "no function '", name, "' in ",
      module.empty() ? "any loaded module" : loaded.front().module.name);
  if (!nearest.best().empty()) {
    absl::StrAppend(&text, "; did you mean '", nearest.best(), "'?");
  } else if (stripped && !module.empty()) {
    absl::StrAppend(&text, " (it is stripped: only exported functions have ",
                    "names)");
  }
  return absl::NotFoundError(text);
}

absl::Status Ambiguous(absl::string_view name,
                       const std::vector<Candidate>& candidates) {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates) {
    if (names.size() == kMaxCandidatesShown) {
      names.push_back("...");
      break;
    }
    names.push_back(absl::StrCat(candidate.source->module.name, ":",
                                 Demangle(candidate.symbol->name), " at 0x",
                                 absl::Hex(candidate.symbol->address)));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", name, "' names ", candidates.size(),
                   " functions: ", absl::StrJoin(names, ", ")));
}

// The whole function, with the names it has besides the one found.
absl::StatusOr<Function> Build(const Candidate& candidate) {
  std::vector<ElfSymbol> names;
  for (const ElfSymbol& symbol : candidate.source->symbols.symbols()) {
    if (symbol.address == candidate.symbol->address &&
        symbol.indirect == candidate.symbol->indirect) {
      names.push_back(symbol);
    }
  }
  Function function = std::move(BuildFunctions(std::move(names)).front());
  if (absl::Status status = ResolveIndirect(&function); !status.ok()) {
    return status;
  }
  return function;
}

}  // namespace

absl::StatusOr<Function> FindFunction(absl::string_view symbol) {
  const size_t separator = ModuleSeparator(symbol);
  absl::string_view module;
  absl::string_view name = symbol;
  const uint64_t offset = TakeOffset(&name);
  if (separator != absl::string_view::npos) {
    module = symbol.substr(0, separator);
    name = name.substr(separator + 1);
  }
  if (name.empty() || separator == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", symbol, "' is not 'function' or 'module:function'"));
  }
  const absl::StatusOr<std::vector<LoadedSymbols>> loaded = ReadModules(module);
  if (!loaded.ok()) return loaded.status();
  std::vector<Candidate> candidates = Candidates(name, *loaded);
  if (candidates.empty()) return NoSuchFunction(module, name, *loaded);
  KeepBest(&candidates);
  if (candidates.size() > 1) return Ambiguous(name, candidates);
  absl::StatusOr<Function> function = Build(candidates.front());
  if (!function.ok()) return function;
  absl::Status entry = CheckEntryOffset(*function, offset);
  if (!entry.ok()) return entry;
  return function;
}

}  // namespace retprobe
