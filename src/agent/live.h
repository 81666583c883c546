// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_LIVE_H_
#define RETPROBE_AGENT_LIVE_H_

#include "agent/handlers.h"
#include "agent/session.h"

namespace retprobe::agent {

// Maps the page that handlers look at and fills it in, unarmed. False without
// memory, or when the kernel (before 4.14) cannot wipe it on fork.
bool SetUpLive(const session::Setup& setup);

// Lets the handlers record from here on.
void Arm();

// Anonymous shared memory of `size` zero bytes, mapped at `address` (replacing
// what is there) or anywhere when null. `*descriptor` is the caller's to close.
// Null: without memory, or when the program may not make files of that size.
void* MapShared(size_t size, void* address, int* descriptor);

// Makes the event rings, one a CPU. Returns the descriptor to pass on, or -1.
// In a forked child: makes new ones in the place of the parent's.
int MapRings(const session::Setup& setup);

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_LIVE_H_
