// SPDX-License-Identifier: Apache-2.0
#include "rethook/shadow_stack.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <new>

namespace retprobe {
namespace {

// Lies in front of its entries.
struct alignas(64) ShadowStack {
  uint64_t serial;  // HookCore::serial
  uint32_t top;     // entries from here on were free when last looked at
  uint32_t depth;
  size_t stride;
  size_t mapped;
  ShadowStack* next;  // once orphaned

  ReturnInstance* At(uint32_t index) {
    return reinterpret_cast<ReturnInstance*>(reinterpret_cast<char*>(this + 1) +
                                             index * stride);
  }

  // Nobody's, and whoever ended it last is done with it.
  bool IsFree(uint32_t index) {
    const SlotRecord* record = At(index)->slot;
    if (record == nullptr) return true;
    // A11 <- R11 (hooked.cc), R17 (hooked.cc): the activation is over. `owner`
    // first: `running` is the last to be cleared.
    // A12 <- R12 (hooked.cc): and nobody uses the record.
    return record->owner.load(std::memory_order_acquire) == 0 &&
           record->running.load(std::memory_order_acquire) == nullptr;
  }
};

thread_local ShadowStack* g_stacks[kShadowStacks]
    __attribute__((tls_model("initial-exec")));

// Stacks that no thread uses any more.
std::atomic<ShadowStack*> g_orphans{nullptr};

std::atomic<uint32_t> g_reserved{0};  // bit i: place i

void Orphan(ShadowStack* stack) {
  // relaxed: the exchange below validates it
  stack->next = g_orphans.load(std::memory_order_relaxed);
  // R13 -> A13: the stack is as its thread left it. relaxed on failure: the
  // next round validates it.
  while (!g_orphans.compare_exchange_weak(stack->next, stack,
                                          std::memory_order_release,
                                          std::memory_order_relaxed)) {
  }
}

void LeaveThread(void*) {
  for (ShadowStack*& stack : g_stacks) {
    if (stack == nullptr) continue;
    ShadowStack* left = stack;
    stack = nullptr;
    Orphan(left);
  }
  SweepStacks();
}

// Whose destructor runs at the end of threads that have stacks.
pthread_key_t g_key;

bool MakeKey() { return pthread_key_create(&g_key, &LeaveThread) == 0; }

// False: something still is to return to it.
bool Unmap(ShadowStack* stack) {
  for (uint32_t i = 0; i < stack->depth; ++i) {
    if (!stack->IsFree(i)) return false;
  }
  for (uint32_t i = 0; i < stack->depth; ++i) {
    SlotRecord* record = stack->At(i)->slot;
    if (record != nullptr) GiveSlot(record);
  }
  arch::SystemCall(SYS_munmap, reinterpret_cast<long>(stack),
                   static_cast<long>(stack->mapped));
  return true;
}

ShadowStack* NewStack(const HookCore& core) {
  constexpr size_t kPage = 4096;
  const size_t bytes =
      (sizeof(ShadowStack) + core.depth * core.stride + kPage - 1) & -kPage;
  const long memory = arch::SystemCall(
      SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory < 0) return nullptr;
  auto* stack = new (reinterpret_cast<void*>(memory))
      ShadowStack{core.serial, 0, core.depth, core.stride, bytes, nullptr};
  pthread_setspecific(g_key, stack);
  ShadowStack*& mine = g_stacks[core.stack_index];
  if (mine != nullptr) Orphan(mine);  // of a Rethook that is gone
  mine = stack;
  return stack;
}

}  // namespace

int ReserveStacks() {
  static const bool has_key = MakeKey();
  if (!has_key) return -1;
  for (int i = 0; i < kShadowStacks; ++i) {
    const uint32_t bit = uint32_t{1} << i;
    // relaxed: stacks in a place tell by their serial whose they are
    if ((g_reserved.fetch_or(bit, std::memory_order_relaxed) & bit) == 0) {
      return i;
    }
  }
  return -1;
}

void ReleaseStacks(int index) {
  // relaxed: as in ReserveStacks
  g_reserved.fetch_and(~(uint32_t{1} << index), std::memory_order_relaxed);
}

ReturnInstance* TakeFromStack(HookCore& core) noexcept {
  ShadowStack* stack = g_stacks[core.stack_index];
  if (stack == nullptr || stack->serial != core.serial) [[unlikely]] {
    stack = NewStack(core);
    if (stack == nullptr) return nullptr;
  }
  uint32_t top = stack->top;
  while (top > 0 && stack->IsFree(top - 1)) --top;
  // Only where a signal handler has come in between.
  while (top < stack->depth && !stack->IsFree(top)) ++top;
  if (top == stack->depth) return nullptr;
  ReturnInstance* instance = stack->At(top);
  if (instance->slot == nullptr && !MakeInstance(instance)) return nullptr;
  Claim(*instance->slot, core);
  asm volatile("" ::: "memory");  // for signal handlers in this thread
  stack->top = top + 1;
  return instance;
}

void SweepStacks() noexcept {
  // A13 <- R13: the stacks are as their threads left them.
  ShadowStack* stack = g_orphans.exchange(nullptr, std::memory_order_acquire);
  while (stack != nullptr) {
    ShadowStack* next = stack->next;
    if (!Unmap(stack)) Orphan(stack);
    stack = next;
  }
}

}  // namespace retprobe
