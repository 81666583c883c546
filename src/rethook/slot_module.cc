// SPDX-License-Identifier: Apache-2.0
//
// Loads the module that code slots lie in (slot_file.h): the file, in memory,
// has the code of some slots, which is the same for all (where a slot is tells
// which one it is) and mapped again and again.
#include <dlfcn.h>
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
#include "rethook/prepare.h"
#include "rethook/slot_file.h"
#include "rethook/slots.h"

namespace retprobe {
namespace {

absl::Status Unavailable(absl::string_view what, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("cannot load the code slots that hooked functions return "
                   "to: ",
                   what, ": ", why));
}

absl::Status WriteFile(int fd) {
  const std::vector<unsigned char> file = MakeSlotFile();
  for (size_t at = 0; at < file.size();) {
    const ssize_t written = write(fd, &file[at], file.size() - at);
    if (written <= 0) return Unavailable("write", strerror(errno));
    at += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

bool MapCode(std::byte* code, int fd) {
  for (size_t at = 0; at < SlotSpace::kCodeBytes; at += SlotFile::kCodeBytes) {
    if (mmap(code + at, SlotFile::kCodeBytes, PROT_READ | PROT_EXEC,
             MAP_PRIVATE | MAP_FIXED, fd, SlotFile::kCode) == MAP_FAILED) {
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
  void* memory = mmap(nullptr, SlotFile::kModuleBytes, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no address space for ", SlotFile::kModuleBytes >> 20,
                     " MiB of code slots: ", strerror(errno)));
  }
  munmap(memory, SlotFile::kModuleBytes);
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
  auto* code = reinterpret_cast<std::byte*>(module->l_addr) + SlotFile::kCode;
  if (!MapCode(code, fd)) return Unavailable("mmap", strerror(errno));
  // R20 -> A20 (slots.cc), A22 (slots.h): the slots and their records are in
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
