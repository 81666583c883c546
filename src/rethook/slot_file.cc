// SPDX-License-Identifier: Apache-2.0
#include "rethook/slot_file.h"

#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstring>

#include "rethook/personality.h"

namespace retprobe {
namespace {

constexpr size_t kCode = SlotFile::kCode;

// DWARF exception header encodings (Linux Standard Base).
constexpr uint8_t kAbsolute = 0x00;
constexpr uint8_t kUnsigned4 = 0x03;
constexpr uint8_t kFromHere4 = 0x1b;
constexpr uint8_t kFromHeader4 = 0x3b;

// Appends to a page.
class Writer {
 public:
  explicit Writer(unsigned char* page) : page_(page) {}

  size_t at() const { return at_; }
  template <typename T>
  size_t Put(const T& value) {
    const size_t begin = at_;
    std::memcpy(page_ + at_, &value, sizeof(value));
    at_ += sizeof(value);
    return begin;
  }
  size_t PutText(const char* text) {
    const size_t begin = at_;
    std::strcpy(reinterpret_cast<char*>(page_ + at_), text);
    at_ += std::strlen(text) + 1;
    return begin;
  }
  // `target`, an offset in the module, as the distance from here.
  void PutFromHere(size_t target) { Put(static_cast<int32_t>(target - at_)); }
  void PutFrame(uint32_t distance) {
    at_ += arch::WriteSlotFrame(page_ + at_, distance);
  }
  void Align(size_t to) { at_ = (at_ + to - 1) & -to; }  // with zeros
  // Begins a frame entry; ended by PatchLength.
  size_t PutLength() { return Put(uint32_t{0}); }
  void PatchLength(size_t begin) {
    Align(8);
    const uint32_t length = static_cast<uint32_t>(at_ - begin - 4);
    std::memcpy(page_ + begin, &length, sizeof(length));
  }

 private:
  unsigned char* page_;
  size_t at_ = 0;
};

// What lies from `begin` to `end`.
ElfW(Phdr) Segment(uint32_t type, size_t begin, size_t end, size_t align) {
  ElfW(Phdr) segment = {};
  segment.p_type = type;
  segment.p_flags = PF_R;
  segment.p_offset = segment.p_vaddr = segment.p_paddr = begin;
  segment.p_filesz = segment.p_memsz = end - begin;
  segment.p_align = align;
  return segment;
}

// One frame description for all slots, and its table.
ElfW(Phdr) WriteUnwindTables(Writer& out) {
  out.Align(8);
  const size_t frames = out.PutLength();
  out.Put(uint32_t{0});  // a CIE
  out.Put(uint8_t{1});
  out.PutText("zPR");
  out.Put(uint8_t{1});     // code alignment
  out.Put(uint8_t{0x78});  // data alignment, -8
  out.Put(uint8_t{16});    // the return address's column
  out.Put(uint8_t{1 + sizeof(uintptr_t) + 1});
  out.Put(kAbsolute);
  out.Put(reinterpret_cast<uintptr_t>(&retprobe_hooked_personality));
  out.Put(kFromHere4);
  out.PutFrame(SlotSpace::kDistance);
  out.PatchLength(frames);

  const size_t description = out.PutLength();
  out.Put(static_cast<uint32_t>(out.at() - frames));
  out.PutFromHere(kCode);
  out.Put(static_cast<uint32_t>(SlotSpace::kCodeBytes));
  out.Put(uint8_t{0});
  out.PatchLength(description);
  out.Put(uint32_t{0});  // the end

  out.Align(8);
  const size_t header = out.at();
  for (const uint8_t byte :
       {uint8_t{1}, kFromHere4, kUnsigned4, kFromHeader4}) {
    out.Put(byte);
  }
  out.PutFromHere(frames);
  out.Put(uint32_t{1});
  out.Put(static_cast<int32_t>(kCode - header));
  out.Put(static_cast<int32_t>(description) - static_cast<int32_t>(header));
  return Segment(PT_GNU_EH_FRAME, header, out.at(), 4);
}

// One symbol, for who asks dladdr what a slot is.
ElfW(Phdr) WriteDynamic(Writer& out) {
  const size_t strings = out.at();
  out.Put('\0');
  const size_t name = out.PutText("libretprobe-slots.so") - strings;
  const size_t symbol_name = out.PutText("retprobe_slots") - strings;
  const size_t strings_end = out.at();
  out.Align(8);
  const size_t symbols = out.Put(ElfW(Sym){});
  ElfW(Sym) symbol = {};
  symbol.st_name = static_cast<ElfW(Word)>(symbol_name);
  symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
  symbol.st_shndx = 1;
  symbol.st_value = kCode;
  symbol.st_size = SlotSpace::kCodeBytes;
  out.Put(symbol);
  const size_t hash = out.at();
  for (const uint32_t word : {1u, 2u, /*bucket*/ 1u, /*chain*/ 0u, 0u}) {
    out.Put(word);
  }
  out.Align(8);
  const size_t dynamic = out.at();
  const auto put = [&](ElfW(Sxword) tag, size_t value) {
    ElfW(Dyn) entry = {};
    entry.d_tag = tag;
    entry.d_un.d_val = value;
    out.Put(entry);
  };
  put(DT_SONAME, name);
  put(DT_HASH, hash);
  put(DT_STRTAB, strings);
  put(DT_STRSZ, strings_end - strings);
  put(DT_SYMTAB, symbols);
  put(DT_SYMENT, sizeof(ElfW(Sym)));
  put(DT_NULL, 0);
  return Segment(PT_DYNAMIC, dynamic, out.at(), 8);
}

}  // namespace

std::vector<unsigned char> MakeSlotFile() {
  std::vector<unsigned char> file(kCode + SlotFile::kCodeBytes);
  ElfW(Phdr) segments[4] = {};
  Writer out(file.data());
  out.Put(ElfW(Ehdr){});
  out.Put(segments);

  // All of the module, so that the dynamic linker knows its extent.
  segments[0].p_type = PT_LOAD;
  segments[0].p_flags = PF_R;
  segments[0].p_filesz = kCode;
  segments[0].p_memsz = SlotFile::kModuleBytes;
  segments[0].p_align = kCode;
  segments[1] = WriteDynamic(out);
  segments[2] = WriteUnwindTables(out);
  segments[3].p_type = PT_GNU_STACK;  // else stacks would become executable
  segments[3].p_flags = PF_R | PF_W;

  ElfW(Ehdr) header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_DYN;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof(header);
  header.e_ehsize = sizeof(header);
  header.e_phentsize = sizeof(ElfW(Phdr));
  header.e_phnum = std::size(segments);
  Writer begin(file.data());
  begin.Put(header);
  begin.Put(segments);

  for (size_t at = kCode; at < file.size(); at += arch::kSlotSize) {
    arch::WriteSlot(&file[at], static_cast<int32_t>(SlotSpace::kDistance));
  }
  return file;
}

}  // namespace retprobe
