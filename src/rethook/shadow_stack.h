// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_SHADOW_STACK_H_
#define RETPROBE_RETHOOK_SHADOW_STACK_H_

#include "rethook/hooked.h"

// Rethook::Storage::kShadowStack: an array of instances for each thread and
// Rethook, mapped when the thread first wants one.
//
// An entry is free when its record has no owner, so that an activation can end
// in any thread; only its own thread takes entries. A thread takes the first
// free one above all that are in use, as a stack does.
namespace retprobe {

// How many Rethooks can have such stacks at a time.
inline constexpr int kShadowStacks = 8;

// Reserves a place in each thread for the stacks of one Rethook, to be given
// back. -1: there is none. Not async-signal-safe.
int ReserveStacks();
void ReleaseStacks(int index);

// Takes an entry of the calling thread's stack. Null: it is full, or there is
// no memory.
ReturnInstance* TakeFromStack(HookCore& core) noexcept;

// Unmaps the stacks of threads and Rethooks that are gone, as far as nothing
// returns to them any more.
void SweepStacks() noexcept;

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_SHADOW_STACK_H_
