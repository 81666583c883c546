// SPDX-License-Identifier: Apache-2.0
#include "rethook/left_frame.h"

#include <atomic>

#include "base/signals_blocked.h"
#include "rethook/dispatch.h"
#include "rethook/entering.h"
#include "rethook/guard.h"
#include "rethook/limits.h"

// arch/x86_64/states.inc
extern "C" const retprobe::FrameState retprobe_states[];
extern "C" const retprobe::FrameState retprobe_states_end[];

namespace retprobe {
namespace {

// relaxed, here and below: this thread published it when it took the instance.
const HandlerList* ListOf(const ReturnInstance* instance) {
  return instance->list.load(std::memory_order_relaxed);
}

// Makes the caller of a body that is left the one its frame returns to. The
// frame is dead, but who walks the stack before it is gone, or searches it for
// return addresses into the trampoline, must not come to the instance.
void Unlink(ReturnInstance* instance) {
  auto* slot = reinterpret_cast<uint64_t*>(instance->frame);
  if (*slot == reinterpret_cast<uintptr_t>(&retprobe_return)) {
    *slot = instance->return_address;
  }
}

// A handler that was running on `instance` has been left, or is not going to be
// called: what its probe's limits gave it is given up, unless it has accepted
// and is still to be told.
void LeaveRunning(ReturnInstance* instance, const HandlerList& list) {
  // relaxed: this thread stored it.
  const ProbeState* running = instance->running.load(std::memory_order_relaxed);
  if (running == nullptr) return;
  for (uint32_t i = 0; i < list.count; ++i) {
    const Handler& handler = list.handlers[i];
    const bool waiting = (instance->accepted & uint64_t{1} << i) != 0;
    if (handler.probe == running && !waiting) {
      Leave(handler, DataOf(instance, handler));
    }
  }
  EndHandler(instance);
}

// Tells who is still to be told that the frame of `instance` has gone.
void Tell(ReturnInstance* instance, EndReason reason) {
  const HandlerList* list = ListOf(instance);
  if (list == nullptr) return;
  const uint32_t in = instance->left_in;
  LeaveRunning(instance, *list);
  if (in == RETPROBE_STATE_HELD || in == RETPROBE_STATE_PUSHING) return;
  // The one handler there is has been left.
  if ((list->flags & RETPROBE_FLAG_SIMPLE) != 0 &&
      (in == RETPROBE_STATE_ENTERING ||
       (in == RETPROBE_STATE_RETURNING && instance->told == 0))) {
    return;
  }
  if (in == RETPROBE_STATE_ENTERING ||
      (list->flags & RETPROBE_FLAG_RETURN) != 0) {
    RunReturns(instance, nullptr, reason);
  }
}

void GiveBackLeft(ReturnInstance* instance) {
  if (instance->left_in == RETPROBE_STATE_CALLED) Unlink(instance);
  instance->told = 0;
  GiveBack(instance, instance->left_in == RETPROBE_STATE_PUSHING
                         ? instance->magazines
                         : ListOf(instance)->magazines);
}

}  // namespace

FrameState StateAt(uintptr_t ip, bool interrupted) {
  // A call's row begins inside it.
  const uintptr_t offset =
      ip - (interrupted ? 0 : 1) - reinterpret_cast<uintptr_t>(&retprobe_entry);
  const FrameState* row = retprobe_states;
  const FrameState* end = retprobe_states_end;
  while (end - row > 1) {
    const FrameState* middle = row + (end - row) / 2;
    (middle->offset <= offset ? row : end) = middle;
  }
  return *row;
}

void LeaveHandlers() {
  retprobe_guard.in_handler = 0;
  StopEntering();
}

void EndAbandoned(ReturnInstance* innermost) {
  HandlerScope scope;
  for (ReturnInstance* i = innermost; i != nullptr; i = i->further_out) {
    Tell(i, EndReason::kAbandoned);
  }
  SignalsBlocked blocked;
  while (innermost != nullptr) {
    ReturnInstance* const instance = innermost;
    innermost = instance->further_out;
    GiveBackLeft(instance);
  }
}

void EndUnwound(UnwindGhost* ghost) {
  HandlerScope scope;
  ReturnInstance* const instance = ghost->instance;
  Tell(instance, EndReason::kUnwound);
  ghost->instance = nullptr;
  asm volatile("" ::: "memory");  // first it is not to be found any more
  GiveBackLeft(instance);
}

}  // namespace retprobe
