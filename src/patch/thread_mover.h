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
//
// Most jumps need none of this: see EntryPatch::TrapsAt.

// How long to wait for a thread: one that will not answer before something else
// happens (it blocks signals, is stopped), and one that only has to be given a
// CPU. The time counts that we meant to sleep, not what passed: if we did not
// run either, nobody had a chance.
struct ThreadPatience {
  std::chrono::microseconds stuck = std::chrono::seconds(5);
  std::chrono::microseconds runnable = std::chrono::seconds(30);
};
extern ThreadPatience thread_patience;

// While it lives nobody is waited for for long: after an attempt in vain.
//
// Requires: one caller at a time.
class BriefPatience {
 public:
  BriefPatience() {
    thread_patience = {std::chrono::milliseconds(30),
                       std::chrono::milliseconds(30)};
  }
  ~BriefPatience() { thread_patience = before_; }
  BriefPatience(const BriefPatience&) = delete;
  BriefPatience& operator=(const BriefPatience&) = delete;

 private:
  const ThreadPatience before_ = thread_patience;
};

// Waits until no thread that blocks SIGTRAP runs, nor, with `inside_too`, has
// its pc, or a context to return to with SIGTRAP blocked, between the
// instructions of a changing patch: an int3 would kill it. Those that sleep
// elsewhere are passed over where the int3 does not stay (`passing`), in the
// hope that they stay there: helper threads commonly sleep with everything
// blocked.
//
// Errors: kUnavailable with the thread.
absl::Status AwaitTrappable(bool inside_too, bool passing);

// Returns once no thread has, or can come to have, its pc between the
// instructions of a changing patch. Requires: all of them begin with int3.
//
// Errors: kUnavailable with the thread and the reason.
absl::Status MoveThreadsOut();

}  // namespace retprobe

#endif  // RETPROBE_PATCH_THREAD_MOVER_H_
