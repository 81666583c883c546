// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_DYNAMIC_TABLE_H_
#define RETPROBE_SYMBOLS_DYNAMIC_TABLE_H_

#include "absl/status/statusor.h"
#include "symbols/elf_file.h"
#include "symbols/module.h"

namespace retprobe {

// The dynamic symbol table of `module` as mapped, found through PT_DYNAMIC: all
// there is when the file behind the module was changed or deleted.
// Errors: kNotFound: the module has none.
// Lifetime: the views point into the module.
absl::StatusOr<ElfFile::SymbolTable> DynamicTable(const Module& module);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_DYNAMIC_TABLE_H_
