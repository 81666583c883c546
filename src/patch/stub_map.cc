// SPDX-License-Identifier: Apache-2.0
#include "patch/stub_map.h"

namespace retprobe {
namespace {

// Stubs are aligned to this, so that no two share a grain.
constexpr uintptr_t kGrain = 16;
constexpr uintptr_t kRegionSize = 64 * 1024;

}  // namespace

struct StubMap::Region {
  uintptr_t begin;
  Region* next;
  std::atomic<const EntryPatch*> stubs[kRegionSize / kGrain];
};

StubMap::Region* StubMap::FindRegion(uintptr_t address) const {
  // A5 <- R5: the region is complete, and those behind it. There are few.
  Region* region = regions_.load(std::memory_order_acquire);
  while (region != nullptr && address - region->begin >= kRegionSize) {
    region = region->next;
  }
  return region;
}

void StubMap::Insert(const EntryPatch* patch) {
  const uintptr_t end = patch->stub + patch->stub_size;
  for (uintptr_t at = patch->stub; at < end; at += kGrain) {
    Region* region = FindRegion(at);
    if (region == nullptr) {
      region = new Region{};
      region->begin = at / kRegionSize * kRegionSize;
      // relaxed: only this thread stores.
      region->next = regions_.load(std::memory_order_relaxed);
      // R5 -> A5: the region before the pointer to it.
      regions_.store(region, std::memory_order_release);
    }
    // R6 -> A6: the patch's content before the pointer to it.
    region->stubs[(at - region->begin) / kGrain].store(
        patch, std::memory_order_release);
  }
}

const EntryPatch* StubMap::Find(uintptr_t pc) const {
  const Region* region = FindRegion(pc);
  if (region == nullptr) return nullptr;
  // A6 <- R6: the patch is complete.
  const EntryPatch* patch = region->stubs[(pc - region->begin) / kGrain].load(
      std::memory_order_acquire);
  return patch != nullptr && pc - patch->stub < patch->stub_size ? patch
                                                                 : nullptr;
}

StubMap& Stubs() {
  // Constant-initialized and never destroyed, as ArmedPatches().
  static constinit StubMap map;
  return map;
}

uintptr_t OriginalPlace(uintptr_t pc) {
  const EntryPatch* patch = Stubs().Find(pc);
  if (patch == nullptr) return 0;
  const uintptr_t offset = pc - patch->stub;
  // The jump back: as behind the displaced instructions.
  if (offset >= patch->resume) return patch->address + patch->displaced;
  for (uintptr_t i = sizeof(patch->moved); i-- > 0;) {
    const uintptr_t copy = patch->moved[i];
    if (copy == 0 || offset < copy) continue;
    // A call's copy pushes the return address and jumps: behind the push it is
    // as at any function's first instruction.
    if (i == patch->call && offset > copy) break;
    return patch->address + i;
  }
  return patch->address;  // before the moved instructions
}

}  // namespace retprobe
