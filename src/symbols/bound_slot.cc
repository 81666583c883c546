// SPDX-License-Identifier: Apache-2.0
#include "symbols/bound_slot.h"

#include <elf.h>
#include <link.h>
#include <unistd.h>

namespace retprobe {
namespace {

struct Search {
  uintptr_t slot;
  bool constant;
};

// The part of the segment that the dynamic linker protects: whole pages only.
bool InRelro(const ElfW(Phdr) & segment, uintptr_t bias, uintptr_t slot) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = bias + segment.p_vaddr;
  const uintptr_t end = (begin + segment.p_memsz) & -page;
  return slot >= (begin & -page) && slot + sizeof(slot) <= end;
}

bool InSegment(const ElfW(Phdr) & segment, uintptr_t bias, uintptr_t address) {
  return address - bias - segment.p_vaddr < segment.p_memsz;
}

bool IsJumpSlot(const ElfW(Dyn) * entry, uintptr_t bias, uintptr_t slot) {
  uintptr_t table = 0;
  size_t size = 0;
  for (; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_JMPREL) table = entry->d_un.d_ptr;
    if (entry->d_tag == DT_PLTRELSZ) size = entry->d_un.d_val;
  }
  if (table == 0) return false;
  // The dynamic linker adds the bias in place.
  const auto* relocations =
      reinterpret_cast<const ElfW(Rela)*>(table < bias ? table + bias : table);
  for (size_t i = 0; i < size / sizeof(*relocations); ++i) {
    if (relocations[i].r_offset + bias == slot) {
      return ELF64_R_TYPE(relocations[i].r_info) == R_X86_64_JUMP_SLOT;
    }
  }
  return false;
}

int Look(dl_phdr_info* info, size_t, void* data) {
  auto& search = *static_cast<Search*>(data);
  const ElfW(Dyn)* dynamic = nullptr;
  bool here = false;
  for (size_t i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    if (segment.p_type == PT_GNU_RELRO) {
      search.constant |= InRelro(segment, info->dlpi_addr, search.slot);
    } else if (segment.p_type == PT_LOAD) {
      here |= InSegment(segment, info->dlpi_addr, search.slot);
    } else if (segment.p_type == PT_DYNAMIC) {
      dynamic =
          reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + segment.p_vaddr);
    }
  }
  if (!here) return 0;
  if (!search.constant && dynamic != nullptr) {
    search.constant = IsJumpSlot(dynamic, info->dlpi_addr, search.slot);
  }
  return 1;
}

}  // namespace

uintptr_t BoundSlot(uintptr_t slot) {
  Search search = {slot, false};
  dl_iterate_phdr(&Look, &search);
  return search.constant ? *reinterpret_cast<const uintptr_t*>(slot) : 0;
}

}  // namespace retprobe
