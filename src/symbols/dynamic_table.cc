// SPDX-License-Identifier: Apache-2.0
#include "symbols/dynamic_table.h"

#include <elf.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace retprobe {
namespace {

// What of PT_DYNAMIC leads to the symbols; addresses in memory, 0: not there.
struct DynamicSection {
  uintptr_t symbols = 0;
  uintptr_t strings = 0;
  size_t strings_size = 0;
  uintptr_t versions = 0;
  uintptr_t hash = 0;
  uintptr_t gnu_hash = 0;
};

const ElfW(Dyn) * Dynamic(const Module& module) {
  for (size_t i = 0; i < module.program_header_count; ++i) {
    const ElfW(Phdr)& header = module.program_headers[i];
    if (header.p_type != PT_DYNAMIC) continue;
    return reinterpret_cast<const ElfW(Dyn)*>(module.bias + header.p_vaddr);
  }
  return nullptr;
}

DynamicSection Read(const Module& module, const ElfW(Dyn) * entry) {
  // The dynamic linker adds the bias in place, once it comes to the module.
  const auto address = [&module](uintptr_t value) {
    return module.Contains(value) ? value : value + module.bias;
  };
  DynamicSection section;
  for (; entry->d_tag != DT_NULL; ++entry) {
    const uintptr_t value = entry->d_un.d_ptr;
    switch (entry->d_tag) {
      case DT_SYMTAB:
        section.symbols = address(value);
        break;
      case DT_STRTAB:
        section.strings = address(value);
        break;
      case DT_STRSZ:
        section.strings_size = value;
        break;
      case DT_VERSYM:
        section.versions = address(value);
        break;
      case DT_HASH:
        section.hash = address(value);
        break;
      case DT_GNU_HASH:
        section.gnu_hash = address(value);
        break;
      default:
        break;
    }
  }
  return section;
}

// Header: buckets, first hashed symbol, Bloom words, Bloom shift; then the
// Bloom filter (64-bit words), the buckets (each the first symbol of a chain),
// and per hashed symbol a word whose lowest bit ends the chain. No symbol count
// anywhere: it is one more than the end of the last chain.
size_t CountByGnuHash(const uint32_t* table) {
  const uint32_t bucket_count = table[0];
  const uint32_t first_hashed = table[1];
  const uint32_t bloom_words = table[2];
  const uint32_t* buckets = table + 4 + 2 * size_t{bloom_words};
  const uint32_t* chains = buckets + bucket_count;
  uint32_t last = 0;
  for (uint32_t i = 0; i < bucket_count; ++i) last = std::max(last, buckets[i]);
  if (last < first_hashed) return first_hashed;
  while ((chains[last - first_hashed] & 1) == 0) ++last;
  return size_t{last} + 1;
}

size_t SymbolCount(const DynamicSection& section) {
  if (section.hash != 0) {
    // Header: buckets, chain entries; there is one of these per symbol.
    return reinterpret_cast<const uint32_t*>(section.hash)[1];
  }
  if (section.gnu_hash != 0) {
    return CountByGnuHash(reinterpret_cast<const uint32_t*>(section.gnu_hash));
  }
  return 0;
}

}  // namespace

absl::StatusOr<ElfFile::SymbolTable> DynamicTable(const Module& module) {
  const ElfW(Dyn)* dynamic = Dynamic(module);
  const DynamicSection section =
      dynamic == nullptr ? DynamicSection{} : Read(module, dynamic);
  if (section.symbols == 0 || section.strings == 0) {
    return absl::NotFoundError(
        absl::StrCat(module.name, " has no dynamic symbol table"));
  }
  ElfFile::SymbolTable table;
  table.symbols = reinterpret_cast<const Elf64_Sym*>(section.symbols);
  table.count = SymbolCount(section);
  table.versions = reinterpret_cast<const Elf64_Half*>(section.versions);
  table.strings = absl::string_view(
      reinterpret_cast<const char*>(section.strings), section.strings_size);
  return table;
}

}  // namespace retprobe
