// SPDX-License-Identifier: Apache-2.0
#include "symbols/module_symbols.h"

#include <elf.h>

#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "symbols/build_identity.h"
#include "symbols/dynamic_table.h"

namespace retprobe {
namespace {

// Set in .gnu.version for all but the default version of a name.
constexpr Elf64_Half kOldVersion = 0x8000;

struct Range {
  uintptr_t begin;
  uintptr_t end;
};

std::vector<Range> CodeOf(const Module& module) {
  std::vector<Range> code;
  for (size_t i = 0; i < module.program_header_count; ++i) {
    const ElfW(Phdr)& segment = module.program_headers[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    const uintptr_t begin = module.bias + segment.p_vaddr;
    code.push_back({begin, begin + segment.p_memsz});
  }
  return code;
}

bool InCode(const std::vector<Range>& code, uintptr_t address) {
  for (const Range& range : code) {
    if (address >= range.begin && address < range.end) return true;
  }
  return false;
}

bool NamesFunction(const Elf64_Sym& symbol) {
  const unsigned type = ELF64_ST_TYPE(symbol.st_info);
  return (type == STT_FUNC || type == STT_GNU_IFUNC) &&
         symbol.st_shndx != SHN_UNDEF && symbol.st_value != 0;
}

// Parts of functions that compilers and BOLT put elsewhere: f.cold, f.cold.3,
// f.part.0.cold, f.warm
bool IsSplitOff(absl::string_view name) {
  for (const absl::string_view suffix : {".cold", ".warm"}) {
    const size_t at = name.find(suffix);
    if (at == absl::string_view::npos || at == 0) continue;
    const size_t end = at + suffix.size();
    if (end == name.size() || name[end] == '.') return true;
  }
  return false;
}

absl::string_view StringAt(absl::string_view strings, size_t offset) {
  if (offset >= strings.size()) return {};
  const absl::string_view rest = strings.substr(offset);
  return rest.substr(0, strnlen(rest.data(), rest.size()));
}

// The file that `module` was loaded from.
absl::StatusOr<ElfFile> OpenModule(const Module& module) {
  if (module.main_program) {
    // Opens also what was deleted meanwhile.
    absl::StatusOr<ElfFile> self = ElfFile::Open("/proc/self/exe");
    if (self.ok() && SameBuild(module, self->image())) return self;
  }
  absl::StatusOr<ElfFile> file = ElfFile::Open(module.path);
  if (file.ok() && !SameBuild(module, file->image())) {
    return absl::FailedPreconditionError(
        absl::StrCat(module.path, " was changed since it was loaded"));
  }
  return file;
}

absl::StatusOr<ElfFile> OpenDebugFile(const Module& module) {
  const std::string id = BuildId(module);
  if (id.size() < 4) return absl::NotFoundError("no build-id");
  return ElfFile::Open(absl::StrCat("/usr/lib/debug/.build-id/",
                                    id.substr(0, 2), "/", id.substr(2),
                                    ".debug"));
}

}  // namespace

void ModuleSymbols::Add(const Module& module, const ElfFile::SymbolTable& table,
                        bool exported) {
  const std::vector<Range> code = CodeOf(module);
  for (size_t i = 0; i < table.count; ++i) {
    const Elf64_Sym& entry = table.symbols[i];
    if (!NamesFunction(entry)) continue;
    ElfSymbol symbol;
    symbol.address = module.bias + entry.st_value;
    if (!InCode(code, symbol.address)) continue;
    symbol.name = StringAt(table.strings, entry.st_name);
    // Static tables have the version in the name: name@OLD, name@@DEFAULT.
    const size_t at = symbol.name.find('@');
    symbol.old_version = at != absl::string_view::npos
                             ? !absl::StartsWith(symbol.name.substr(at), "@@")
                             : table.versions != nullptr &&
                                   (table.versions[i] & kOldVersion) != 0;
    symbol.name = symbol.name.substr(0, at);
    if (symbol.name.empty() || IsSplitOff(symbol.name)) continue;
    symbol.size = entry.st_size;
    symbol.indirect = ELF64_ST_TYPE(entry.st_info) == STT_GNU_IFUNC;
    symbol.exported = exported;
    symbols_.push_back(symbol);
  }
}

void ModuleSymbols::AddFiles(const Module& module) {
  Add(module, files_[0].Symbols(SHT_DYNSYM), true);
  ElfFile::SymbolTable table = files_[0].Symbols(SHT_SYMTAB);
  if (table.count == 0) {
    absl::StatusOr<ElfFile> debug = OpenDebugFile(module);
    if (!debug.ok()) return;
    files_.push_back(*std::move(debug));
    table = files_.back().Symbols(SHT_SYMTAB);
  }
  stripped_ = table.count == 0;
  Add(module, table, false);
}

absl::StatusOr<ModuleSymbols> ModuleSymbols::Read(const Module& module) {
  ModuleSymbols result;
  absl::StatusOr<ElfFile> file = OpenModule(module);
  if (file.ok()) {
    result.files_.push_back(*std::move(file));
    result.AddFiles(module);
    return result;
  }
  const absl::StatusOr<ElfFile::SymbolTable> table = DynamicTable(module);
  if (!table.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no symbols: ", file.status().message(), ", and ",
                     table.status().message(), " in memory"));
  }
  result.from_memory_ = true;
  result.Add(module, *table, true);
  return result;
}

}  // namespace retprobe
