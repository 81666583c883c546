// SPDX-License-Identifier: Apache-2.0
//
// What the trampoline calls when a probed function has handlers, or when its
// magazine cannot serve it.

#include "rethook/dispatch.h"

#include <atomic>

#include "objpool/objpool_hot.h"
#include "rethook/call_checks.h"
#include "rethook/entering.h"
#include "rethook/guard.h"
#include "rethook/limits.h"
#include "rethook/trampoline.h"

namespace retprobe {
namespace {

// No CPU's, and empty.
struct alignas(64) NoMagazines {
  MagazineHeader header;
} g_no_magazines = {};

struct HandlerList g_no_list = {.magazines = &g_no_magazines + 1};

// Publishes that a handler of `probe` runs on `instance`, unless it is dead.
//
// Detach stores `dead`, makes every thread pass a full barrier (membarrier),
// and then looks for `running`. So, whatever the order here in the hardware,
// one of the two sees the other; the compiler must keep it.
bool Begin(ReturnInstance* instance, ProbeState* probe) {
  retprobe_guard.running = instance;
  // R0 -> A0 (probe/detach.cc): that the handler which ran on this instance
  // before has done, for a Detach that waits for it and finds us instead. Of
  // our own handler nothing is published here.
  instance->running.store(probe, std::memory_order_release);
  // S3 <-> S1 (probe/detach.cc): `running` before `dead`, against `dead`
  // before `running`. The other side's membarrier is the fence of both.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  // relaxed: the membarrier orders it, see above.
  return !probe->dead.load(std::memory_order_relaxed);
}

// Notes in `accepted` whether handler `index` wants this activation. The frame
// may be left at any moment (rethook/left_frame.cc): while `running` names the
// probe its handler has been admitted.
void RunEntry(const HandlerList* list, uint32_t index, ReturnInstance* instance,
              RegisterFrame* frame) {
  const Handler& handler = list->handlers[index];
  const uint64_t bit = uint64_t{1} << index;
  void* const data = DataOf(instance, handler);
  if (handler.checks != nullptr &&
      !Passes(*handler.checks, *instance, *frame)) {
    return;
  }
  if (handler.limits != 0 && !Admit(handler, data)) return;
  if (handler.entry == nullptr) {
    instance->accepted |= bit;
    return;
  }
  bool wanted = false;
  if (Begin(instance, handler.probe)) {
    EntryContext context = ContextAccess::Entry(instance, frame, data);
    wanted = retprobe_call_entry_handler(handler.entry_user, &context,
                                         handler.entry, instance, bit);
  }
  EndHandler(instance);
  if (!wanted) Leave(handler, data);
}

}  // namespace

HandlerList* const kNoList = &g_no_list;

void EndHandler(ReturnInstance* instance) {
  // R1 -> A0 (probe/detach.cc): what the handler did is done, also its reads
  // of what its owner frees once Detach has returned.
  instance->running.store(nullptr, std::memory_order_release);
}

void RunReturns(ReturnInstance* instance, RegisterFrame* frame,
                EndReason reason) {
  // relaxed: this thread published it when it took the instance.
  const HandlerList* list = instance->list.load(std::memory_order_relaxed);
  if (instance->told == 0) {
    const bool all = (list->flags & RETPROBE_FLAG_ENTRY) == 0 ||
                     (list->flags & RETPROBE_FLAG_SIMPLE) != 0;
    if (all) instance->accepted = ~uint64_t{0};
    instance->told = 1;
    asm volatile("" ::: "memory");  // who comes after a jump sees both
  }
  for (uint32_t i = list->count; i-- > 0;) {
    const uint64_t bit = uint64_t{1} << i;
    if ((instance->accepted & bit) == 0) continue;
    const Handler& handler = list->handlers[i];
    if (handler.ret == nullptr) {
      instance->accepted &= ~bit;
    } else {
      if (Begin(instance, handler.probe)) {
        ReturnContext context = ContextAccess::Return(
            instance, frame, DataOf(instance, handler), reason);
        retprobe_call_return_handler(handler.return_user, &context, handler.ret,
                                     instance, ~bit);
      } else {
        instance->accepted &= ~bit;
      }
      EndHandler(instance);
    }
    Leave(handler, DataOf(instance, handler));
  }
}

void GiveBack(ReturnInstance* instance, void* magazines) {
  // R2 -> A1 (probe/retired.cc): the reads of the list and of the probes that
  // it names; none comes after.
  instance->list.store(nullptr, std::memory_order_release);
  PoolCore::Push(magazines, instance, retprobe_rseq_offset);
}

}  // namespace retprobe

using retprobe::HandlerList;
using retprobe::HandlerScope;
using retprobe::RegisterFrame;
using retprobe::ReturnInstance;
using retprobe::Site;

extern "C" {

constinit thread_local retprobe::ThreadGuard retprobe_guard
    __attribute__((tls_model("initial-exec"), visibility("hidden"))) = {};

ReturnInstance* retprobe_take_slow(Site* site) {
  HandlerScope scope;
  retprobe::EnteringScope entering;
  // A0 <- R0 (probe/registry.cc): the list is complete.
  // S2 <-> S0 (probe/registry.cc): total order with S0 and S1 of entering.h, so
  // that this load sees the new list or WaitForEntering sees us counted; an
  // acquiring one may overtake the increment where the processor lets it.
  HandlerList* list = site->list.load(std::memory_order_seq_cst);
  if (list == retprobe::kNoList) {
    // relaxed: a statistic.
    site->missed_dying.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  auto* instance =
      static_cast<ReturnInstance*>(retprobe_pop_slow(list->magazines));
  if (instance == nullptr) {
    // relaxed: a statistic.
    site->missed_empty.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  // R3 -> A1 (probe/retired.cc): that whoever had the instance before us (the
  // pool orders us after him) is done with his list, for a reclaimer that finds
  // ours instead. That it does find ours is R5's doing, at entering's end.
  instance->list.store(list, std::memory_order_release);
  return instance;
}

void retprobe_give_slow(void* magazines, ReturnInstance* instance) {
  HandlerScope scope;
  // R4 -> A1 (probe/retired.cc): as R2. The critical section, which clears it
  // too, may have been left before that.
  instance->list.store(nullptr, std::memory_order_release);
  retprobe_push_slow(magazines, instance);
}

bool retprobe_dispatch_entry(ReturnInstance* instance, RegisterFrame* frame) {
  HandlerScope scope;
  // relaxed: this thread published it when it took the instance.
  const HandlerList* list = instance->list.load(std::memory_order_relaxed);
  const uint64_t arguments[] = {frame->rdi, frame->rsi, frame->rdx,
                                frame->rcx, frame->r8,  frame->r9};
  for (uint32_t i = 0; i < list->saved_arguments; ++i) {
    instance->arguments[i] = arguments[i];
  }
  for (uint32_t i = 0; i < list->count; ++i) {
    retprobe::RunEntry(list, i, instance, frame);
  }
  if ((list->flags & RETPROBE_FLAG_ENTRY_ONLY) != 0) {
    for (uint32_t i = 0; i < list->count; ++i) {
      const uint64_t bit = uint64_t{1} << i;
      if ((instance->accepted & bit) == 0) continue;
      const retprobe::Handler& handler = list->handlers[i];
      instance->accepted &= ~bit;
      retprobe::Leave(handler, retprobe::DataOf(instance, handler));
    }
  }
  return instance->accepted != 0;
}

Site* retprobe_decline(ReturnInstance* instance) {
  HandlerScope scope;
  // relaxed: this thread published it when it took the instance.
  const HandlerList* list = instance->list.load(std::memory_order_relaxed);
  Site* site = list->site;
  retprobe::GiveBack(instance, list->magazines);
  return site;
}

void retprobe_dispatch_return(ReturnInstance* instance, RegisterFrame* frame) {
  HandlerScope scope;
  retprobe::RunReturns(instance, frame, retprobe::EndReason::kReturned);
}
}
