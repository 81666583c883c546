// SPDX-License-Identifier: Apache-2.0
#include "symbols/elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace retprobe {
namespace {

// A section's content as memory of native layout; null when it has none.
const Elf_Data* Content(Elf* elf, size_t index) {
  Elf_Scn* section = elf_getscn(elf, index);
  if (section == nullptr) return nullptr;
  const Elf_Data* data = elf_getdata(section, nullptr);
  return data == nullptr || data->d_buf == nullptr ? nullptr : data;
}

bool OfThisMachine(Elf* elf) {
  if (elf == nullptr || elf_kind(elf) != ELF_K_ELF) return false;
  const Elf64_Ehdr* header = elf64_getehdr(elf);
  return header != nullptr && header->e_machine == EM_X86_64;
}

}  // namespace

absl::StatusOr<ElfFile> ElfFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  }
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_size <= 0) {
    close(fd);
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not an ELF file"));
  }
  void* image = mmap(nullptr, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  close(fd);
  if (image == MAP_FAILED) {
    return absl::ErrnoToStatus(error, absl::StrCat("cannot map ", path));
  }
  ElfFile file(image, status.st_size);
  elf_version(EV_CURRENT);
  file.elf_ = elf_memory(static_cast<char*>(image), file.size_);
  if (!OfThisMachine(file.elf_)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not an ELF file of this machine"));
  }
  return file;
}

ElfFile::ElfFile(ElfFile&& other) noexcept
    : image_(std::exchange(other.image_, nullptr)),
      size_(other.size_),
      elf_(std::exchange(other.elf_, nullptr)) {}

ElfFile::~ElfFile() {
  if (elf_ != nullptr) elf_end(elf_);
  if (image_ != nullptr) munmap(image_, size_);
}

ElfFile::SymbolTable ElfFile::Symbols(uint32_t section_type) const {
  SymbolTable table;
  const Elf_Data* versions = nullptr;
  Elf_Scn* section = nullptr;
  while ((section = elf_nextscn(elf_, section)) != nullptr) {
    const Elf64_Shdr* header = elf64_getshdr(section);
    if (header == nullptr) continue;
    if (header->sh_type == SHT_GNU_versym) {
      versions = Content(elf_, elf_ndxscn(section));
    } else if (header->sh_type == section_type && table.symbols == nullptr) {
      const Elf_Data* symbols = Content(elf_, elf_ndxscn(section));
      const Elf_Data* strings = Content(elf_, header->sh_link);
      if (symbols == nullptr || strings == nullptr) continue;
      table.symbols = static_cast<const Elf64_Sym*>(symbols->d_buf);
      table.count = symbols->d_size / sizeof(Elf64_Sym);
      table.strings = absl::string_view(
          static_cast<const char*>(strings->d_buf), strings->d_size);
    }
  }
  if (section_type == SHT_DYNSYM && versions != nullptr &&
      versions->d_size / sizeof(Elf64_Half) >= table.count) {
    table.versions = static_cast<const Elf64_Half*>(versions->d_buf);
  }
  return table;
}

}  // namespace retprobe
