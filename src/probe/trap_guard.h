// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_TRAP_GUARD_H_
#define RETPROBE_PROBE_TRAP_GUARD_H_

#include <vector>

#include "retprobe/return_probe.h"

namespace retprobe {

// What keeps a program from losing the SIGTRAP that an armed int3 raises: bash
// handles every signal, and resets it in children; others block all signals for
// a while, and the kernel kills who runs into an int3 then.
//
// Probes on sigaction, through which the C library's other functions go: the
// program's action for SIGTRAP is kept where our handler finds it, our handler
// stays, and no handler blocks SIGTRAP while it runs. And on pthread_sigmask:
// SIGTRAP is not blocked, and said to be.
//
// Not covered: system calls made by hand; the masks of sigsuspend, ppoll and
// their like; a mask that the C library sets for itself, around clone in
// pthread_create and posix_spawn; SIG_IGN for programs executed later.
std::vector<ReturnProbe::Request> TrapGuards();

// Takes SIGTRAP out of the masks of the handlers that there are.
void UnblockTrapInHandlers();

}  // namespace retprobe

#endif  // RETPROBE_PROBE_TRAP_GUARD_H_
