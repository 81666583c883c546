// SPDX-License-Identifier: Apache-2.0
#include "rethook/slots.h"

namespace retprobe {
namespace {

SlotRecord* RecordNumber(uint32_t number) {
  // relaxed: whoever takes slots has seen PrepareSlots succeed
  std::byte* code = g_slots.code.load(std::memory_order_relaxed);
  return reinterpret_cast<SlotRecord*>(code + SlotSpace::kDistance) + number;
}

uint32_t NumberOf(const SlotRecord* record) {
  return static_cast<uint32_t>(record - RecordNumber(0));
}

// The count keeps a head from being taken for one that was there before.
constexpr uint64_t kOneChange = uint64_t{1} << 32;

uint64_t NewHead(uint64_t old, uint32_t number_plus_1) {
  return ((old + kOneChange) & ~(kOneChange - 1)) | number_plus_1;
}

SlotRecord* TakeFree() {
  // A21 <- R21: who gave the slot is done with it.
  uint64_t head = g_slots.free.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(head) != 0) {
    SlotRecord* record = RecordNumber(static_cast<uint32_t>(head) - 1);
    // relaxed: the CAS validates it
    const uint32_t next = record->next.load(std::memory_order_relaxed);
    // A21 <- R21: as above, on either outcome.
    if (g_slots.free.compare_exchange_weak(head, NewHead(head, next),
                                           std::memory_order_acquire,
                                           std::memory_order_acquire)) {
      return record;
    }
  }
  return nullptr;
}

SlotRecord* TakeNew() {
  // relaxed, all: numbers; records are zero
  uint32_t number = g_slots.used.load(std::memory_order_relaxed);
  do {
    if (number == SlotSpace::kSlots) return nullptr;
  } while (!g_slots.used.compare_exchange_weak(number, number + 1,
                                               std::memory_order_relaxed,
                                               std::memory_order_relaxed));
  return RecordNumber(number);
}

}  // namespace

SlotSpace g_slots;

SlotRecord* TakeSlot() noexcept {
  SlotRecord* record = TakeFree();
  return record != nullptr ? record : TakeNew();
}

void GiveSlot(SlotRecord* record) noexcept {
  const uint32_t number = NumberOf(record);
  // relaxed: the CAS validates it
  uint64_t head = g_slots.free.load(std::memory_order_relaxed);
  do {
    // relaxed: published by R21
    record->next.store(static_cast<uint32_t>(head), std::memory_order_relaxed);
    // R21 -> A21: we are done with the slot. relaxed on failure: the next round
    // validates it.
  } while (!g_slots.free.compare_exchange_weak(head, NewHead(head, number + 1),
                                               std::memory_order_release,
                                               std::memory_order_relaxed));
}

SlotRecord* RecordAt(uintptr_t address) noexcept {
  // A20 <- R20 (slot_module.cc): the slots are in place.
  std::byte* code = g_slots.code.load(std::memory_order_acquire);
  const uintptr_t offset = address - reinterpret_cast<uintptr_t>(code);
  if (code == nullptr || offset >= SlotSpace::kCodeBytes) return nullptr;
  return RecordNumber(static_cast<uint32_t>(offset / arch::kSlotSize));
}

uintptr_t ReturnInto(const SlotRecord* record) noexcept {
  return reinterpret_cast<uintptr_t>(record) - SlotSpace::kDistance +
         RETPROBE_SLOT_RETURN;
}

}  // namespace retprobe
