// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_THREADS_H_
#define RETPROBE_PATCH_THREADS_H_

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace retprobe {

// The ids of all threads of this process but the caller, in the kernel's order;
// threads that begin or end meanwhile may be missing. False when the list
// cannot be read.
bool OtherThreads(std::vector<pid_t>* threads);

// What the kernel tells of a thread from outside.
struct ThreadState {
  enum Kind : uint8_t {
    kGone,
    kRunning,  // or about to: its pc is not known
    kBlocked,  // in the kernel; will continue at `pc` with `sp`
  };
  Kind kind;
  uintptr_t pc;
  uintptr_t sp;
};
ThreadState StateOf(pid_t thread);

// What /proc tells of a thread besides; a thread that has gone, or cannot be
// told of, blocks nothing and sleeps.
struct ThreadStatus {
  char state = 'S';      // as ps(1) has it
  uint64_t blocked = 0;  // signals, bit 0 for number 1
  bool strict = false;   // seccomp: strict, or more filters than ours
  bool Blocks(int signal) const { return blocked >> (signal - 1) & 1; }
  bool stopped() const { return state == 'T' || state == 't'; }
};
ThreadStatus StatusOf(pid_t thread);

}  // namespace retprobe

#endif  // RETPROBE_PATCH_THREADS_H_
