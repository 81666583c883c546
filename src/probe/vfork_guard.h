// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_VFORK_GUARD_H_
#define RETPROBE_PROBE_VFORK_GUARD_H_

#include <vector>

#include "probe/replacement.h"
#include "retprobe/return_probe.h"

namespace retprobe {

// The functions of libc that run a child in this memory, and what marks the
// calling thread while they do. A child of vfork or posix_spawn shares the
// parent's rseq area without being registered: were its calls probed, they
// would change the magazine of a CPU that they are not on.
//
// Not covered: clone(CLONE_VM) by a program's own system call, which nothing of
// ours can see.
//
// What replaces vfork, which no call-through can survive (it returns twice).
Replacement ReplaceVfork();

// What replaces clone, which goes on twice: on another stack, too.
Replacement ReplaceClone();

// Probes that mark the thread around posix_spawn and posix_spawnp.
std::vector<ReturnProbe::Request> SpawnGuards();

}  // namespace retprobe

#endif  // RETPROBE_PROBE_VFORK_GUARD_H_
