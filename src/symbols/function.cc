// SPDX-License-Identifier: Apache-2.0
#include "symbols/function.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "symbols/function_builder.h"
#include "symbols/module_symbols.h"
#include "symbols/unwind_table.h"

namespace retprobe {
namespace {

size_t LeadingUnderscores(absl::string_view name) {
  return std::min(name.find_first_not_of('_'), name.size());
}

// By function, then the name that a user would write first.
bool Before(const ElfSymbol& a, const ElfSymbol& b) {
  if (a.address != b.address) return a.address < b.address;
  if (a.indirect != b.indirect) return b.indirect;
  if (a.exported != b.exported) return a.exported;
  if (a.old_version != b.old_version) return b.old_version;
  const size_t a_underscores = LeadingUnderscores(a.name);
  const size_t b_underscores = LeadingUnderscores(b.name);
  return std::forward_as_tuple(a_underscores, a.name.size(), a.name) <
         std::forward_as_tuple(b_underscores, b.name.size(), b.name);
}

void AddName(absl::string_view name, Function* function) {
  if (function->name.empty()) {
    function->name = std::string(name);
  } else if (function->name != name &&
             std::find(function->aliases.begin(), function->aliases.end(),
                       name) == function->aliases.end()) {
    function->aliases.emplace_back(name);
  }
}

size_t SizeFromUnwindTable(uintptr_t address) {
  const FunctionBounds bounds = BoundsFromUnwindTable(address);
  return bounds.end == 0 ? 0 : bounds.end - address;
}

}  // namespace

std::vector<Function> BuildFunctions(std::vector<ElfSymbol> symbols) {
  std::sort(symbols.begin(), symbols.end(), Before);
  std::vector<Function> functions;
  const ElfSymbol* previous = nullptr;
  for (const ElfSymbol& symbol : symbols) {
    if (previous == nullptr || previous->address != symbol.address ||
        previous->indirect != symbol.indirect) {
      Function& function = functions.emplace_back();
      function.indirect = symbol.indirect;
      (symbol.indirect ? function.resolver : function.address) = symbol.address;
    }
    previous = &symbol;
    Function& function = functions.back();
    AddName(symbol.name, &function);
    // An ifunc's size is its resolver's.
    if (!symbol.indirect) function.size = std::max(function.size, symbol.size);
  }
  for (Function& function : functions) {
    if (function.size == 0 && !function.indirect) {
      function.size = SizeFromUnwindTable(function.address);
    }
  }
  return functions;
}

absl::StatusOr<std::vector<Function>> ModuleFunctions(const Module& module) {
  const absl::StatusOr<ModuleSymbols> symbols = ModuleSymbols::Read(module);
  if (!symbols.ok()) return symbols.status();
  return BuildFunctions(symbols->symbols());
}

absl::Status ResolveIndirect(Function* function) {
  if (!function->indirect || function->address != 0) return absl::OkStatus();
  // On x86-64 a resolver takes no arguments.
  const auto resolver = reinterpret_cast<uintptr_t (*)()>(function->resolver);
  const uintptr_t address = resolver();
  if (address == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(function->name, ": its ifunc resolver chose no code"));
  }
  function->address = address;
  function->size = SizeFromUnwindTable(address);
  return absl::OkStatus();
}

}  // namespace retprobe
