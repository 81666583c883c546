// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_HOOKED_H_
#define RETPROBE_RETHOOK_HOOKED_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "rethook/guard.h"
#include "rethook/instance.h"
#include "rethook/slots.h"

// What a hooked call runs: class Rethook's other side, without Abseil.
namespace retprobe {

enum class HookStorage : uint8_t { kPool, kShadowStack, kMalloc };

// What activations need of a Rethook. Outlives it until the last of them has
// ended.
struct HookCore {
  // No handler is to run any more. Checked after SlotRecord::owner or running
  // is published, so that after a barrier either side sees the other.
  std::atomic<bool> dead{false};

  HookStorage storage;
  const void* code;  // where its slots go on
  void (*handler)(void* user, ReturnContext& context);
  void* user;

  int64_t maxactive;  // 0: no limit, or the storage has its own
  std::atomic<int64_t> active{0};

  void* magazines;  // kPool

  // kShadowStack: whose stacks these are, and where threads keep theirs;
  // entries of each, and bytes of an entry.
  uint64_t serial;
  uint32_t stack_index;
  uint32_t depth;
  size_t stride;

  // kMalloc. The instance has a slot.
  ReturnInstance* (*take)(const HookCore& core);
  void (*give)(ReturnInstance* instance);

  std::atomic<uint64_t> missed_empty{0};
  std::atomic<uint64_t> missed_recursion{0};
  std::atomic<uint64_t> missed_stopped{0};

  // The Rethook, and, once that is gone, activations that are out. Whoever
  // brings it to 0 frees the core.
  std::atomic<uint64_t> remaining{1};
};

// A list with nobody in it, for contexts.
extern HandlerList* const kHookedList;

// Ends the life of a core that nobody refers to. Async-signal-safe.
void FreeCore(HookCore& core) noexcept;

// Makes an instance where none has been. False: there are no slots left.
bool MakeInstance(ReturnInstance* instance) noexcept;

// As Rethook's members.
ReturnInstance* TakeHook(HookCore& core) noexcept;
void Recycle(HookCore& core, ReturnInstance* instance) noexcept;
void Hook(HookCore& core, ReturnInstance* instance, void** return_address,
          void* function) noexcept;
void* HookCall(HookCore& core, ReturnInstance* instance, void** return_address,
               void* function) noexcept;
void* FindReturnAddress(void* address) noexcept;
uint64_t CurrentTask() noexcept;
size_t FlushTask(HookCore& core, uint64_t task) noexcept;

// A handler that the calling thread runs; on its stack.
struct Ending {
  Ending* further_out;
  HookCore* core;
  ReturnInstance* instance;
  ReturnInstance* running;  // ThreadGuard::running, before
};
const Ending* InnermostEnding() noexcept;

// A jump leaves the thread's handlers up to `until`, which stays: they have
// heard.
void LeaveEndings(const Ending* until) noexcept;

// Ends what a jump leaves: a chain by ReturnInstance::further_out.
void EndHooked(ReturnInstance* innermost) noexcept;

// Makes the calling thread's activation of `core` known.
inline void Claim(SlotRecord& record, HookCore& core) {
  record.task = CurrentTask();
  // R10 -> A10: the task, for who flushes another's activations.
  record.owner.store(reinterpret_cast<uintptr_t>(&core),
                     std::memory_order_release);
}

// Whether the handler that runs on `record` is one that the caller is in.
inline bool IsOwnHandler(const SlotRecord& record) {
  return retprobe_guard.in_handler != 0 &&
         retprobe_guard.running == record.instance;
}

// Whether `record` is of an activation of `core`.
inline bool IsOf(const SlotRecord& record, const HookCore& core) {
  // A10 <- R10: its task.
  const uintptr_t owner = record.owner.load(std::memory_order_acquire);
  return (owner & ~SlotRecord::kCounted) == reinterpret_cast<uintptr_t>(&core);
}

}  // namespace retprobe

extern "C" {
// Code (src/arch).
void retprobe_hooked_return_sse();
void retprobe_hooked_return_avx();
void retprobe_hooked_return_all_f();
void retprobe_hooked_return_all();
void retprobe_hooked_return_bare();
void retprobe_hooked_landing_pad();

// Runs the handler and gives the instance back. Returns SlotRecord::flags.
uint64_t retprobe_end_hooked(retprobe::SlotRecord* record,
                             retprobe::RegisterFrame* frame);

// The same for a frame that is unwound. Returns SlotRecord::resume.
uint64_t retprobe_end_unwound(retprobe::SlotRecord* record);
}

#endif  // RETPROBE_RETHOOK_HOOKED_H_
