// SPDX-License-Identifier: Apache-2.0
#include "probe/frame_finder.h"

#include <link.h>

#include <atomic>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "patch/stub_map.h"
#include "rethook/unwinder.h"

namespace retprobe {
namespace {

// libgcc's struct dwarf_eh_bases.
struct Bases {
  void* text;
  void* data;
  uintptr_t function;  // where the frame's rules begin to count
};
using Finder = const void* (*)(uintptr_t pc, Bases* bases);

std::atomic<Finder> g_original;

// Async-signal-safe: called by whoever unwinds.
const void* FindFrame(uintptr_t pc, Bases* bases) {
  // relaxed: set before the jump that leads here.
  const Finder original = g_original.load(std::memory_order_relaxed);
  const void* frame = original(pc, bases);
  if (frame != nullptr) return frame;
  // No module's: the few frames that are in stubs.
  const uintptr_t place = OriginalPlace(pc);
  if (place == 0) return nullptr;
  frame = original(place, bases);
  if (frame != nullptr) bases->function += pc - place;
  return frame;
}

// Notes where libgcc_s lies.
int VisitModule(dl_phdr_info* module, size_t, void* found) {
  absl::string_view name = module->dlpi_name;
  name.remove_prefix(name.rfind('/') + 1);
  if (!absl::StartsWith(name, "libgcc_s.so.")) return 0;
  for (int i = 0; i < module->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = module->dlpi_phdr[i];
    if (part.p_type != PT_LOAD) continue;
    *static_cast<uintptr_t*>(found) = module->dlpi_addr + part.p_vaddr;
    return 1;
  }
  return 0;
}

}  // namespace

void* FrameFinder() {
  uintptr_t address = 0;
  dl_iterate_phdr(VisitModule, &address);
  return address == 0 ? nullptr
                      : FindExported(reinterpret_cast<void*>(address),
                                     "_Unwind_Find_FDE");
}

const void* ReplaceFrameFinder(const void* original) {
  // relaxed: writing the jump orders it before whoever takes it.
  g_original.store(reinterpret_cast<Finder>(const_cast<void*>(original)),
                   std::memory_order_relaxed);
  return reinterpret_cast<const void*>(&FindFrame);
}

}  // namespace retprobe
