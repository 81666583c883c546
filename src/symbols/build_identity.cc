// SPDX-License-Identifier: Apache-2.0
#include "symbols/build_identity.h"

#include <elf.h>

#include <cstddef>
#include <cstring>

#include "absl/strings/escaping.h"

namespace retprobe {
namespace {

// The notes of `header` in memory. Empty unless a loaded segment holds them.
absl::string_view Notes(const Module& module, const ElfW(Phdr) & header) {
  const uintptr_t begin = module.bias + header.p_vaddr;
  if (header.p_type != PT_NOTE || !module.Contains(begin) ||
      header.p_filesz > module.end - begin) {
    return {};
  }
  return absl::string_view(reinterpret_cast<const char*>(begin),
                           header.p_filesz);
}

size_t AlignUp(size_t value, size_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

// The description of the GNU build-id among `notes`.
absl::string_view FindBuildId(absl::string_view notes, size_t alignment) {
  constexpr absl::string_view kGnu("GNU\0", 4);
  if (alignment != 8) alignment = 4;
  ElfW(Nhdr) note;
  while (notes.size() >= sizeof(note)) {
    std::memcpy(&note, notes.data(), sizeof(note));
    const size_t description = sizeof(note) + AlignUp(note.n_namesz, 4);
    const size_t end = description + note.n_descsz;
    if (end > notes.size() || end < description) break;
    if (note.n_type == NT_GNU_BUILD_ID &&
        notes.substr(sizeof(note), note.n_namesz) == kGnu) {
      return notes.substr(description, note.n_descsz);
    }
    notes.remove_prefix(std::min(AlignUp(end, alignment), notes.size()));
  }
  return {};
}

}  // namespace

bool SameBuild(const Module& module, absl::string_view image) {
  ElfW(Ehdr) header;
  if (image.size() < sizeof(header)) return false;
  std::memcpy(&header, image.data(), sizeof(header));
  const size_t headers_size = module.program_header_count * sizeof(ElfW(Phdr));
  if (header.e_phnum != module.program_header_count ||
      header.e_phoff > image.size() ||
      headers_size > image.size() - header.e_phoff ||
      std::memcmp(image.data() + header.e_phoff, module.program_headers,
                  headers_size) != 0) {
    return false;
  }
  for (size_t i = 0; i < module.program_header_count; ++i) {
    const ElfW(Phdr)& segment = module.program_headers[i];
    const absl::string_view notes = Notes(module, segment);
    if (notes.empty()) continue;
    if (segment.p_offset > image.size() ||
        image.substr(segment.p_offset, notes.size()) != notes) {
      return false;
    }
  }
  return true;
}

std::string BuildId(const Module& module) {
  for (size_t i = 0; i < module.program_header_count; ++i) {
    const ElfW(Phdr)& segment = module.program_headers[i];
    const absl::string_view id =
        FindBuildId(Notes(module, segment), segment.p_align);
    if (!id.empty()) return absl::BytesToHexString(id);
  }
  return {};
}

}  // namespace retprobe
