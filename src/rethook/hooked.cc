// SPDX-License-Identifier: Apache-2.0
#include "rethook/hooked.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "objpool/objpool_hot.h"
#include "rethook/shadow_stack.h"
#include "rethook/trampoline.h"

namespace retprobe {

namespace {

HandlerList g_hooked_list = {};

// 0: not yet asked for.
thread_local uint64_t g_task __attribute__((tls_model("initial-exec")));
std::atomic<uint64_t> g_tasks{0};

thread_local Ending* g_ending __attribute__((tls_model("initial-exec")));

[[noreturn]] void Die(const char* why, size_t length) {
  if (write(STDERR_FILENO, why, length) < 0) {
  }
  abort();
}

void CountMiss(std::atomic<uint64_t>& misses) {
  // relaxed: a statistic
  misses.fetch_add(1, std::memory_order_relaxed);
}

bool Admit(HookCore& core) {
  if (core.maxactive == 0) return true;
  // relaxed, both: a count, nothing is published by it
  if (core.active.fetch_add(1, std::memory_order_relaxed) < core.maxactive) {
    return true;
  }
  core.active.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

void Leave(HookCore& core) {
  // relaxed: see Admit
  if (core.maxactive != 0) core.active.fetch_sub(1, std::memory_order_relaxed);
}

ReturnInstance* TakeFromPool(void* magazines) {
  const uintptr_t object = arch::MagazinePop(magazines, retprobe_rseq_offset);
  auto* instance = static_cast<ReturnInstance*>(
      object != arch::kLookFurther ? reinterpret_cast<void*>(object)
                                   : retprobe_pop_slow(magazines));
  if (instance == nullptr || instance->slot != nullptr) [[likely]] {
    return instance;
  }
  // There was no slot when it was made.
  if (MakeInstance(instance)) return instance;
  PoolCore::Push(magazines, instance, retprobe_rseq_offset);
  return nullptr;
}

ReturnInstance* Take(HookCore& core) {
  switch (core.storage) {
    case HookStorage::kPool:
      return TakeFromPool(core.magazines);
    case HookStorage::kShadowStack:
      return TakeFromStack(core);
    case HookStorage::kMalloc: {
      HandlerScope scope;  // the allocator may be hooked
      return core.take(core);
    }
  }
  return nullptr;
}

// Gives the instance back. `dead`: whether the core is, as seen after `running`
// was published, if it was.
void Release(HookCore& core, ReturnInstance* instance, bool dead) {
  SlotRecord& record = *instance->slot;
  const HookStorage storage = core.storage;
  void* const magazines = core.magazines;
  const auto give = core.give;
  Leave(core);
  bool counted = false;
  if (!dead) {
    // R11 -> A11 (shadow_stack.cc), A15 (rethook.cc): the activation is over.
    record.owner.store(0, std::memory_order_release);
  } else {
    // R17/A14 -> A11 (shadow_stack.cc), A15 (rethook.cc) <- R14 (rethook.cc):
    // the activation is over; whether it is counted. If not, so is our use of
    // the core.
    counted = (record.owner.exchange(0, std::memory_order_acq_rel) &
               SlotRecord::kCounted) != 0;
  }
  // R12 -> A12 (shadow_stack.cc), A16 (rethook.cc): the handler is done, and so
  // are we with the record, and with the core, unless we are counted.
  record.running.store(nullptr, std::memory_order_release);
  // R18/A18 -> A18, A19 (rethook.cc) <- R18, R19 (rethook.cc): our use of the
  // core is over; for who frees it, everybody's.
  if (counted && core.remaining.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    FreeCore(core);
  }
  if (storage == HookStorage::kPool) {
    PoolCore::Push(magazines, instance, retprobe_rseq_offset);
  } else if (storage == HookStorage::kMalloc) {
    give(instance);
  }
}

// Ends the activation that `record` is of.
void End(SlotRecord& record, RegisterFrame* frame, EndReason reason) {
  HandlerScope scope;
  // relaxed: ours, from when the function was hooked
  auto* core = reinterpret_cast<HookCore*>(
      record.owner.load(std::memory_order_relaxed) & ~SlotRecord::kCounted);
  if (core == nullptr) {
    static constexpr char kWhy[] =
        "retprobe: a hooked function returned that had been flushed, or had "
        "returned before\n";
    Die(kWhy, sizeof(kWhy) - 1);
  }
  ReturnInstance* instance = record.instance;
  ReturnInstance* const outer = retprobe_guard.running;
  retprobe_guard.running = instance;
  // relaxed: for who ended here before nobody waits any more
  record.running.store(core, std::memory_order_relaxed);
  // S10 <-> S11 (rethook.cc): `running` before `dead`, against `dead` before
  // `running`; the other side's membarrier is the fence of both.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  // relaxed: ordered by the membarrier
  const bool dead = core->dead.load(std::memory_order_relaxed);
  if (!dead) {
    ReturnContext context =
        ContextAccess::Return(instance, frame, instance + 1, reason);
    Ending ending = {g_ending, core, instance, outer};
    g_ending = &ending;
    asm volatile("" ::: "memory");  // for jumps out of the handler
    core->handler(core->user, context);
    asm volatile("" ::: "memory");
    g_ending = ending.further_out;
  }
  Release(*core, instance, dead);
  retprobe_guard.running = outer;
}

SlotRecord& Arm(HookCore& core, ReturnInstance* instance, void** return_address,
                void* function, uint32_t flags) {
  SlotRecord& record = *instance->slot;
  record.return_address = reinterpret_cast<uint64_t>(*return_address);
  record.code = core.code;
  record.flags = flags;
  instance->return_address = record.return_address;
  instance->frame = reinterpret_cast<uint64_t>(return_address);
  instance->function = function;
  // Unwinders come in signal handlers, too.
  asm volatile("" ::: "memory");
  return record;
}

// Gives the frame its return address back: who walks this stack from now on, as
// for a handler that jumps, too, has to find the way past it without the
// record, which is another activation's soon.
void Unhook(const SlotRecord& record) {
  auto* place = reinterpret_cast<uint64_t*>(record.instance->frame);
  if (*place == ReturnInto(&record)) *place = record.return_address;
}

}  // namespace

HandlerList* const kHookedList = &g_hooked_list;

void FreeCore(HookCore& core) noexcept {
  core.~HookCore();
  arch::SystemCall(SYS_munmap, reinterpret_cast<long>(&core), sizeof(core));
}

bool MakeInstance(ReturnInstance* instance) noexcept {
  // relaxed: nobody else knows the instance
  instance->list.store(kHookedList, std::memory_order_relaxed);
  instance->slot = TakeSlot();
  if (instance->slot == nullptr) return false;
  instance->slot->instance = instance;
  return true;
}

ReturnInstance* TakeHook(HookCore& core) noexcept {
  if (retprobe_guard.in_handler != 0 || retprobe_guard.unseen != 0)
      [[unlikely]] {
    if (!Unseen()) {
      if (retprobe_guard.in_handler == 0) return TakeHook(core);
      CountMiss(core.missed_recursion);
    }
    return nullptr;
  }
  // relaxed: checked again below
  if (core.dead.load(std::memory_order_relaxed)) {
    CountMiss(core.missed_stopped);
    return nullptr;
  }
  if (!Admit(core)) {
    CountMiss(core.missed_empty);
    return nullptr;
  }
  ReturnInstance* instance = Take(core);
  if (instance == nullptr) {
    Leave(core);
    CountMiss(core.missed_empty);
    return nullptr;
  }
  Claim(*instance->slot, core);
  // S12 <-> S11 (rethook.cc): `owner` before `dead`, against `dead` before
  // `owner`; the membarrier again.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  // relaxed: ordered by the membarrier
  if (core.dead.load(std::memory_order_relaxed)) [[unlikely]] {
    CountMiss(core.missed_stopped);
    Release(core, instance, /*dead=*/true);
    return nullptr;
  }
  return instance;
}

void Recycle(HookCore& core, ReturnInstance* instance) noexcept {
  HandlerScope scope;
  // relaxed: nobody destroys the core meanwhile
  Release(core, instance, core.dead.load(std::memory_order_relaxed));
}

void Hook(HookCore& core, ReturnInstance* instance, void** return_address,
          void* function) noexcept {
  const SlotRecord& record = Arm(core, instance, return_address, function, 0);
  *return_address = reinterpret_cast<void*>(ReturnInto(&record));
}

void* HookCall(HookCore& core, ReturnInstance* instance, void** return_address,
               void* function) noexcept {
  const SlotRecord& record =
      Arm(core, instance, return_address, function, RETPROBE_RECORD_CALLED);
  return reinterpret_cast<void*>(ReturnInto(&record) - RETPROBE_SLOT_RETURN);
}

void* FindReturnAddress(void* address) noexcept {
  auto at = reinterpret_cast<uintptr_t>(address);
  while (const SlotRecord* record = RecordAt(at)) {
    // relaxed: a look
    if (record->owner.load(std::memory_order_relaxed) == 0) return nullptr;
    at = record->return_address;
  }
  return reinterpret_cast<void*>(at);
}

uint64_t CurrentTask() noexcept {
  if (g_task == 0) [[unlikely]] {
    // relaxed: a number
    g_task = g_tasks.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  return g_task;
}

const Ending* InnermostEnding() noexcept { return g_ending; }

void LeaveEndings(const Ending* until) noexcept {
  while (g_ending != until) {
    const Ending left = *g_ending;
    g_ending = left.further_out;
    // relaxed: nobody destroys the core while its handler is running
    Release(*left.core, left.instance,
            left.core->dead.load(std::memory_order_relaxed));
    retprobe_guard.running = left.running;
  }
}

void EndHooked(ReturnInstance* innermost) noexcept {
  while (innermost != nullptr) {
    SlotRecord& record = *innermost->slot;
    innermost = innermost->further_out;
    Unhook(record);
    End(record, nullptr, EndReason::kAbandoned);
  }
}

size_t FlushTask(HookCore& core, uint64_t task) noexcept {
  size_t flushed = 0;
  ForEachRecord([&](SlotRecord& record) {
    if (!IsOf(record, core) || record.task != task) return;
    End(record, nullptr, EndReason::kAbandoned);
    ++flushed;
  });
  return flushed;
}

}  // namespace retprobe

extern "C" {

uint64_t retprobe_end_hooked(retprobe::SlotRecord* record,
                             retprobe::RegisterFrame* frame) {
  const uint32_t flags = record->flags;
  retprobe::End(*record, frame, retprobe::EndReason::kReturned);
  return flags;
}

uint64_t retprobe_end_unwound(retprobe::SlotRecord* record) {
  const uint64_t resume = record->resume;
  retprobe::End(*record, nullptr, retprobe::EndReason::kUnwound);
  return resume;
}
}
