// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_DISPATCH_H_
#define RETPROBE_RETHOOK_DISPATCH_H_

#include "rethook/instance.h"

// The parts of running handlers that the ends of frames which do not return
// have in common with those that do. Hot.
namespace retprobe {

// A handler's data in an activation.
inline void* DataOf(ReturnInstance* instance, const Handler& handler) {
  return reinterpret_cast<char*>(instance + 1) + handler.data_offset;
}

// No handler runs on `instance` any more.
void EndHandler(ReturnInstance* instance);

// Runs the return handlers that accepted the activation, in reverse; those
// that are still to be told, when that was broken off (ReturnInstance::told).
void RunReturns(ReturnInstance* instance, RegisterFrame* frame,
                EndReason reason);

// Gives the instance back from C++, as the trampoline's end does, to
// `magazines`.
void GiveBack(ReturnInstance* instance, void* magazines);

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_DISPATCH_H_
