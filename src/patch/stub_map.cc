// SPDX-License-Identifier: Apache-2.0
#include "patch/stub_map.h"

#include <algorithm>
#include <memory>
#include <type_traits>

namespace retprobe {
namespace {

// Stubs are looked up by the grain that they begin in; several may.
constexpr uintptr_t kGrain = 16;
// As many grains before that of an address a stub that it is in may begin.
constexpr uintptr_t kReach = UINT8_MAX / kGrain + 1;
constexpr size_t kFirstCapacity = 256;

size_t Hash(uintptr_t grain) {
  return static_cast<size_t>(grain * 0x9e3779b97f4a7c15 >> 32);
}

}  // namespace

struct StubMap::Slots {
  explicit Slots(size_t size)
      : mask(size - 1), slots(new std::atomic<const EntryPatch*>[size]()) {}

  // Takes the first free slot; `order` publishes the patch.
  void Put(const EntryPatch* patch, std::memory_order order) {
    size_t slot = Hash(patch->stub / kGrain) & mask;
    // relaxed: only this thread stores.
    while (slots[slot].load(std::memory_order_relaxed) != nullptr) {
      slot = (slot + 1) & mask;
    }
    slots[slot].store(patch, order);
  }

  const size_t mask;
  const std::unique_ptr<std::atomic<const EntryPatch*>[]> slots;
};

void StubMap::Grow(size_t capacity) {
  // relaxed: only this thread stores.
  const Slots* old = current_.load(std::memory_order_relaxed);
  auto* grown = new Slots(capacity);
  for (size_t i = 0; old != nullptr && i <= old->mask; ++i) {
    // relaxed: as above; then: published by R5.
    const EntryPatch* patch = old->slots[i].load(std::memory_order_relaxed);
    if (patch != nullptr) grown->Put(patch, std::memory_order_relaxed);
  }
  // R5 -> A5: the filled table, and the patches that it names, before the
  // pointer to it. The old one stays for readers that still search it.
  current_.store(grown, std::memory_order_release);
}

void StubMap::Reserve(size_t more) {
  // relaxed: only this thread stores.
  const Slots* table = current_.load(std::memory_order_relaxed);
  const size_t now = table == nullptr ? 0 : table->mask + 1;
  size_t capacity = std::max(now, kFirstCapacity);
  while (4 * (count_ + more) > 3 * capacity) capacity *= 2;
  if (capacity != now) Grow(capacity);
}

void StubMap::Insert(const EntryPatch* patch) {
  Reserve(1);
  ++count_;
  // relaxed: only this thread stores. R6 -> A6: the patch's content before the
  // pointer to it.
  current_.load(std::memory_order_relaxed)
      ->Put(patch, std::memory_order_release);
}

const EntryPatch* StubMap::Find(uintptr_t pc) const {
  // A5 <- R5: the table is filled, and its patches are complete.
  const Slots* table = current_.load(std::memory_order_acquire);
  if (table == nullptr) return nullptr;
  const uintptr_t last = pc / kGrain;
  for (uintptr_t grain = last; last - grain <= kReach; --grain) {
    for (size_t slot = Hash(grain) & table->mask;;
         slot = (slot + 1) & table->mask) {
      // A6 <- R6: a patch put in since then is complete.
      const EntryPatch* patch =
          table->slots[slot].load(std::memory_order_acquire);
      if (patch == nullptr) break;
      if (pc - patch->stub < patch->stub_size) return patch;
    }
  }
  return nullptr;
}

StubMap& Stubs() {
  // Constant-initialized and never destroyed, as ArmedPatches().
  static constinit StubMap map;
  static_assert(std::is_trivially_destructible_v<StubMap>);
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
    if (i == patch->call && offset > copy) return patch->function;
    return patch->address + i;
  }
  return patch->address;  // before, or the first of, the moved instructions
}

}  // namespace retprobe
