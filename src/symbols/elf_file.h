// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_ELF_FILE_H_
#define RETPROBE_SYMBOLS_ELF_FILE_H_

#include <libelf.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retprobe {

// An ELF file of this machine's kind, mapped privately and read through libelf.
class ElfFile {
 public:
  // Entries of a symbol table with the strings they name.
  struct SymbolTable {
    const Elf64_Sym* symbols = nullptr;
    size_t count = 0;
    const Elf64_Half* versions = nullptr;  // null: not versioned
    absl::string_view strings;
  };

  // Errors: what open(2) and mmap(2) say; kInvalidArgument: not such a file.
  static absl::StatusOr<ElfFile> Open(const std::string& path);

  ElfFile(ElfFile&& other) noexcept;
  ElfFile& operator=(ElfFile&& other) = delete;
  ~ElfFile();

  // The file's bytes.
  absl::string_view image() const {
    return absl::string_view(static_cast<const char*>(image_), size_);
  }

  // The table of section type SHT_SYMTAB or SHT_DYNSYM; empty when the file
  // has none, or only its heading (a separate debug file's SHT_DYNSYM).
  SymbolTable Symbols(uint32_t section_type) const;

 private:
  ElfFile(void* image, size_t size) : image_(image), size_(size) {}

  void* image_;
  size_t size_;
  Elf* elf_ = nullptr;
};

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_ELF_FILE_H_
