// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_TRAMPOLINE_H_
#define RETPROBE_RETHOOK_TRAMPOLINE_H_

#include <cstddef>
#include <cstdint>

#include "rethook/instance.h"

// The border between the trampoline's assembly (src/arch/x86_64/trampoline.S)
// and C++. All of it runs inside other people's functions: async-signal-safe,
// no allocation, no lock, no system call, no vector register.
extern "C" {

// Code.
void retprobe_entry();
void retprobe_return();
void retprobe_landing_pad();

// Constants of the process, set by PrepareTrampoline (rethook/prepare.h).
extern ptrdiff_t retprobe_rseq_offset;
extern int32_t retprobe_vector_level;

// The magazine was empty, frozen, or not for this thread. Null: no instance,
// and the miss is counted.
retprobe::ReturnInstance* retprobe_take_slow(retprobe::Site* site);

// The magazine was full, frozen, or not for this thread.
void retprobe_give_slow(void* magazines, retprobe::ReturnInstance* instance);

// Runs entry handlers. False: every one declined.
bool retprobe_dispatch_entry(retprobe::ReturnInstance* instance,
                             retprobe::RegisterFrame* frame);

// Gives back the instance of a declined activation; returns its site.
retprobe::Site* retprobe_decline(retprobe::ReturnInstance* instance);

// Runs return handlers; the caller gives the instance back.
void retprobe_dispatch_return(retprobe::ReturnInstance* instance,
                              retprobe::RegisterFrame* frame);
}

namespace retprobe {

// Ends an activation that does not return: handlers hear `reason`, the instance
// is given back.
void EndActivation(ReturnInstance* instance, EndReason reason);

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_TRAMPOLINE_H_
