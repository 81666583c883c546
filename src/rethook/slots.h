// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_SLOTS_H_
#define RETPROBE_RETHOOK_SLOTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/arch.h"

// Code slots and their records: one for each instance of a Rethook.
namespace retprobe {

struct HookCore;
struct ReturnInstance;

// What a slot needs to know of the activation that returns to it. Never
// unmapped, so that whoever looks at all of them needs no lock.
struct alignas(64) SlotRecord {
  uint64_t return_address;     // also read by unwinders
  const void* code;            // where the slot goes on
  uint32_t flags;              // RETPROBE_RECORD_*
  std::atomic<uint32_t> next;  // while free: number + 1 of the next free one
  ReturnInstance* instance;

  // The HookCore whose activation this is, plus kCounted once its end has been
  // counted in HookCore::remaining; 0: nobody's.
  static constexpr uintptr_t kCounted = 1;
  std::atomic<uintptr_t> owner;
  // The HookCore whose handler is running here, or that is being left.
  std::atomic<HookCore*> running;
  uint64_t task;
  uint64_t resume;  // while being unwound: _Unwind_Resume of the unwinder
};
static_assert(sizeof(SlotRecord) == arch::kSlotSize);
static_assert(offsetof(SlotRecord, return_address) ==
              RETPROBE_RECORD_RETURN_ADDRESS);
static_assert(offsetof(SlotRecord, code) == RETPROBE_RECORD_CODE);

// All slots of the process. Address space for them is reserved at once, memory
// is used by those that have been taken.
struct SlotSpace {
  static constexpr size_t kSlots = size_t{1} << 21;
  static constexpr size_t kCodeBytes = kSlots * arch::kSlotSize;
  // Records are as large as slots, and lie right behind them.
  static constexpr size_t kDistance = kCodeBytes;

  std::atomic<std::byte*> code{nullptr};
  std::atomic<uint32_t> used{0};  // slots that were ever taken
  std::atomic<uint64_t> free{0};  // count of changes << 32 | number + 1
};
extern SlotSpace g_slots;

// Takes a slot, or gives it back. Null: there is none left.
// Requires: PrepareSlots (prepare.h) succeeded; of GiveSlot: nobody will return
// to it. Progress: lock-free. Signals: async-signal-safe.
SlotRecord* TakeSlot() noexcept;
void GiveSlot(SlotRecord* record) noexcept;

// The record of the slot that `address` is in; null: it is in none.
SlotRecord* RecordAt(uintptr_t address) noexcept;

// What a hooked function has as its return address.
uintptr_t ReturnInto(const SlotRecord* record) noexcept;

// Calls visit(SlotRecord&) for all that were ever taken.
template <typename Visit>
void ForEachRecord(Visit visit) {
  // A22 <- R20 (slot_module.cc): the records are in place.
  std::byte* code = g_slots.code.load(std::memory_order_acquire);
  if (code == nullptr) return;
  auto* records = reinterpret_cast<SlotRecord*>(code + SlotSpace::kDistance);
  // relaxed: zero is what a record begins with
  const uint32_t used = g_slots.used.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < used; ++i) visit(records[i]);
}

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_SLOTS_H_
