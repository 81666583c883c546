// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_STACK_SCAN_H_
#define RETPROBE_PATCH_STACK_SCAN_H_

#include <cstddef>
#include <cstdint>

#include "patch/near_memory.h"

namespace retprobe {

// Where the instruction at `pc` was moved to, when `pc` lies between the
// instructions of a changing patch; else 0. Async-signal-safe.
uintptr_t CopyOf(uintptr_t pc);

// What to do about the saved contexts of interrupted code that lie between the
// instructions of a changing patch.
enum class Contexts {
  kMove,        // change them to the copy
  kFind,        // look whether there is one
  kFindMasked,  // look whether there is one that blocks SIGTRAP
};

// Looks for signal frames on the stack from `sp` upwards, and on the stacks
// that those frames point to in turn. Requires for kMove: the thread of that
// stack is the caller, or stopped.
//
// A stack ends with the writable memory it lies in: `limits`, ascending, says
// where that is; for a stack that is not there, 8 MiB or unreadable memory.
//
// Returns whether such a context is there that was not changed. A frame is told
// by what follows the pc: flags, and the code and stack segments of user space.
//
// Signals: async-signal-safe; `page` is 4 KiB of scratch memory.
struct StackLimits {
  const Mapping* mappings;
  size_t count;
};
bool FindInterrupted(uintptr_t sp, Contexts what, const StackLimits& limits,
                     uint64_t* page);

}  // namespace retprobe

#endif  // RETPROBE_PATCH_STACK_SCAN_H_
