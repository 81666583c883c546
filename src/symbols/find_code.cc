// SPDX-License-Identifier: Apache-2.0
#include "symbols/find_code.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "symbols/find_function.h"
#include "symbols/function.h"
#include "symbols/module.h"
#include "symbols/pattern.h"
#include "symbols/probeable.h"
#include "symbols/symbol_name.h"
#include "symbols/unwind_table.h"

namespace retprobe {
namespace {

// "0x1000-0x1fff".
absl::StatusOr<std::vector<AddressRange>> ParseRange(absl::string_view text) {
  const size_t dash = text.find('-');
  uint64_t first, last;
  if (dash == absl::string_view::npos ||
      !absl::SimpleHexAtoi(text.substr(0, dash), &first) ||
      !absl::SimpleHexAtoi(text.substr(dash + 1), &last) || last < first ||
      last == UINT64_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "' is no range of addresses; expected 0xFIRST-0xLAST"));
  }
  return std::vector<AddressRange>{{first, last + 1}};
}

void AddCodeOf(const Module& module, std::vector<AddressRange>& ranges) {
  for (size_t i = 0; i < module.program_header_count; ++i) {
    const ElfW(Phdr)& header = module.program_headers[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
    const uintptr_t begin = module.bias + header.p_vaddr;
    ranges.push_back({begin, begin + header.p_memsz});
  }
}

void AddFunction(const Function& function, std::vector<AddressRange>& ranges) {
  if (function.address == 0) return;
  uintptr_t end = function.address + function.size;
  if (function.size == 0) end = BoundsFromUnwindTable(function.address).end;
  ranges.push_back({function.address, end});
}

}  // namespace

absl::Status CheckCodeText(absl::string_view text) {
  return absl::StartsWith(text, "0x") ? ParseRange(text).status()
                                      : Pattern::Parse(text).status();
}

absl::StatusOr<std::vector<AddressRange>> FindCode(absl::string_view text) {
  if (absl::StartsWith(text, "0x")) return ParseRange(text);
  const absl::StatusOr<Pattern> pattern = Pattern::Parse(text);
  if (!pattern.ok()) return pattern.status();
  const size_t colon = ModuleSeparator(text);
  const bool whole =
      colon != absl::string_view::npos && text.substr(colon + 1) == "*";
  std::vector<AddressRange> ranges;
  bool module_found = false;
  for (const Module& module : LoadedModules()) {
    if (!pattern->MatchesModule(module)) continue;
    module_found = true;
    if (whole) {
      AddCodeOf(module, ranges);
      continue;
    }
    auto functions = ModuleFunctions(module);
    if (!functions.ok()) continue;
    for (Function& function : *functions) {
      if (!pattern->MatchesFunction(function)) continue;
      // Some resolvers are there for their effect alone.
      if (function.indirect && !Probeable(module, function).ok()) continue;
      if (ResolveIndirect(&function).ok()) AddFunction(function, ranges);
    }
  }
  if (!ranges.empty()) return ranges;
  // Who says best what is near, if it is one name.
  if (text.find_first_of("*?[") == absl::string_view::npos) {
    const absl::Status status = FindFunction(text).status();
    if (!status.ok()) return status;
  }
  return absl::NotFoundError(absl::StrCat(
      "'", text, "': ",
      module_found ? "no function of that name" : "no such module is loaded"));
}

}  // namespace retprobe
