// SPDX-License-Identifier: Apache-2.0
//
// The ELF module that code slots lie in: one page of headers and tables, then
// address space, for code and for records. A file in memory has the page, and
// behind it the code of some slots, which is the same for all (where a slot is
// tells which one it is) and mapped again and again.
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rethook/hooked.h"
#include "rethook/personality.h"
#include "rethook/prepare.h"
#include "rethook/slots.h"

namespace retprobe {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kCode = kPage;  // offset of the first slot
constexpr size_t kRecords = kCode + SlotSpace::kDistance;
constexpr size_t kModuleBytes =
    kRecords + SlotSpace::kSlots * sizeof(SlotRecord);
// Slots that the file has the code of: a mapping each for that many.
constexpr size_t kFileCodeBytes = size_t{1} << 20;
static_assert(SlotSpace::kCodeBytes % kFileCodeBytes == 0);
static_assert(kModuleBytes < size_t{1} << 31, "tables have 32-bit offsets");

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

// One frame description for all slots. Returns where its table is, and its
// length.
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

  ElfW(Phdr) segment = {};
  segment.p_type = PT_GNU_EH_FRAME;
  segment.p_flags = PF_R;
  segment.p_offset = segment.p_vaddr = segment.p_paddr = header;
  segment.p_filesz = segment.p_memsz = out.at() - header;
  segment.p_align = 4;
  return segment;
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

  ElfW(Phdr) segment = {};
  segment.p_type = PT_DYNAMIC;
  segment.p_flags = PF_R;
  segment.p_offset = segment.p_vaddr = segment.p_paddr = dynamic;
  segment.p_filesz = segment.p_memsz = out.at() - dynamic;
  segment.p_align = 8;
  return segment;
}

// The file: headers and tables, then code.
std::vector<unsigned char> MakeFile() {
  std::vector<unsigned char> file(kPage + kFileCodeBytes);
  ElfW(Phdr) segments[4] = {};
  Writer out(file.data());
  out.Put(ElfW(Ehdr){});
  out.Put(segments);

  // All of the module, so that the dynamic linker knows its extent.
  segments[0].p_type = PT_LOAD;
  segments[0].p_flags = PF_R;
  segments[0].p_filesz = kPage;
  segments[0].p_memsz = kModuleBytes;
  segments[0].p_align = kPage;
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

  for (size_t at = kPage; at < file.size(); at += arch::kSlotSize) {
    arch::WriteSlot(&file[at], static_cast<int32_t>(SlotSpace::kDistance));
  }
  return file;
}

absl::Status Unavailable(absl::string_view what, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("cannot load the code slots that hooked functions return "
                   "to: ",
                   what, ": ", why));
}

absl::Status WriteFile(int fd) {
  const std::vector<unsigned char> file = MakeFile();
  for (size_t at = 0; at < file.size();) {
    const ssize_t written = write(fd, &file[at], file.size() - at);
    if (written <= 0) return Unavailable("write", strerror(errno));
    at += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

bool MapCode(std::byte* code, int fd) {
  for (size_t at = 0; at < SlotSpace::kCodeBytes; at += kFileCodeBytes) {
    if (mmap(code + at, kFileCodeBytes, PROT_READ | PROT_EXEC,
             MAP_PRIVATE | MAP_FIXED, fd, kPage) == MAP_FAILED) {
      return false;
    }
  }
  return mmap(code + SlotSpace::kDistance,
              SlotSpace::kSlots * sizeof(SlotRecord), PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
              0) != MAP_FAILED;
}

// What the dynamic linker will ask for; it does not tell why it is refused.
absl::Status CheckAddressSpace() {
  void* memory = mmap(nullptr, kModuleBytes, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no address space for ", kModuleBytes >> 20,
                     " MiB of code slots: ", strerror(errno)));
  }
  munmap(memory, kModuleBytes);
  return absl::OkStatus();
}

absl::Status Load(int fd) {
  absl::Status status = CheckAddressSpace();
  if (status.ok()) status = WriteFile(fd);
  if (!status.ok()) return status;
  // Not /proc/self/fd/N: the dynamic linker remembers names, and would take a
  // file that the program opens there one day for this one.
  const std::string path = absl::StrCat("/proc/self/task/../fd/", fd);
  auto* module = static_cast<link_map*>(
      dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE));
  if (module == nullptr) {
    return Unavailable("dlopen", dlerror());
  }
  // Debuggers, and our own symbols room, would look there for symbols.
  static constexpr char kName[] = "retprobe-slots";
  if (path.size() >= sizeof(kName)) std::strcpy(module->l_name, kName);
  auto* code = reinterpret_cast<std::byte*>(module->l_addr) + kCode;
  if (!MapCode(code, fd)) return Unavailable("mmap", strerror(errno));
  // R0 -> A0 (slots.cc), A2 (slots.h): the slots and their records are in
  // place.
  g_slots.code.store(code, std::memory_order_release);
  return absl::OkStatus();
}

// In a child only the forking thread lives; nobody is to wait for the others.
void ForgetOtherThreads() {
  ForEachRecord([](SlotRecord& record) {
    // relaxed, both: the child has one thread
    if (record.running.load(std::memory_order_relaxed) != nullptr &&
        !IsOwnHandler(record)) {
      record.running.store(nullptr, std::memory_order_relaxed);
    }
  });
}

absl::Status LoadOnce() {
  const int fd = memfd_create("retprobe-slots", MFD_CLOEXEC);
  if (fd < 0) return Unavailable("memfd_create", strerror(errno));
  absl::Status status = Load(fd);
  close(fd);
  if (status.ok()) pthread_atfork(nullptr, nullptr, &ForgetOtherThreads);
  return status;
}

}  // namespace

absl::Status PrepareSlots() {
  static const absl::Status* const prepared = new absl::Status(LoadOnce());
  return *prepared;
}

}  // namespace retprobe
