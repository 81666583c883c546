// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_THREAD_MOVER_H_
#define RETPROBE_PATCH_THREAD_MOVER_H_

#include <chrono>

#include "absl/status/status.h"

namespace retprobe {

// Moving threads out of bytes that are about to change. All of it concerns the
// patches in ArmedPatches() whose `changing` is set.
//
// A thread that runs is asked by a queued real-time signal, one that the
// program does not use at that moment: its handler changes the pc it
// interrupted, and those in the signal frames on its stack, to the copies. Not
// SIGTRAP: while one is pending, the kernel drops that of an int3, and a pc
// behind a 1-byte instruction could mean either. A thread that is blocked in
// the kernel is inspected from outside and left alone if it is clear of the
// bytes; it cannot come into them any more once they begin with an int3.
//
// A thread that was running when looked at and then blocks may see its system
// call interrupted: restarted, or EINTR where SA_RESTART does not help.
using Deadline = std::chrono::steady_clock::time_point;

// Waits until no thread runs with SIGTRAP blocked: an int3 would kill it. One
// that is inside a system call is passed over, in the hope that it stays there:
// helper threads commonly sleep with everything blocked.
//
// Errors: kUnavailable with the thread at `deadline`.
absl::Status AwaitTrappable(Deadline deadline);

// Returns once no thread has, or can come to have, its pc between the
// instructions of a changing patch. Requires: all of them begin with int3.
//
// Errors: kUnavailable with the thread and the reason at `deadline`.
absl::Status MoveThreadsOut(Deadline deadline);

}  // namespace retprobe

#endif  // RETPROBE_PATCH_THREAD_MOVER_H_
