// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_MODULE_SYMBOLS_H_
#define RETPROBE_SYMBOLS_MODULE_SYMBOLS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "symbols/elf_file.h"
#include "symbols/module.h"

namespace retprobe {

// One name of a function, as the tables have it.
struct ElfSymbol {
  absl::string_view name;  // without version
  uintptr_t address;       // in memory; of an ifunc: its resolver
  size_t size;             // 0: unknown
  bool indirect;           // STT_GNU_IFUNC
  bool exported;           // in the dynamic table
  bool old_version;        // name@VERSION: kept for programs linked long ago
};

// The names of all functions that a module defines, in no order and with
// duplicates; aliases are entries of their own. Cold parts ("f.cold") are left
// out: they are jumped to, never called.
//
// Read from the module's file (dynamic and static table), from its separate
// debug file (static table, when the file is stripped), and, when the file is
// not the one that was loaded, from memory (dynamic table).
class ModuleSymbols {
 public:
  // Errors: why neither file nor memory has a table.
  static absl::StatusOr<ModuleSymbols> Read(const Module& module);

  // Lifetime: that of *this and of the module.
  const std::vector<ElfSymbol>& symbols() const { return symbols_; }
  // No static table was found: only exported functions have names.
  bool stripped() const { return stripped_; }
  // The file was not usable; the names come from memory.
  bool from_memory() const { return from_memory_; }

 private:
  void Add(const Module& module, const ElfFile::SymbolTable& table,
           bool exported);
  void AddFiles(const Module& module);

  std::vector<ElfFile> files_;  // what the names point into
  std::vector<ElfSymbol> symbols_;
  bool stripped_ = true;
  bool from_memory_ = false;
};

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_MODULE_SYMBOLS_H_
