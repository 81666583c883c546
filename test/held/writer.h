// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_HELD_WRITER_H_
#define RETPROBE_TEST_HELD_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "patch/entry_patch.h"

namespace retprobe::test {

// What a thread that attaches or detaches a probe has the kernel do.
struct Request {
  enum Kind {
    kWrite,   // of code
    kCores,   // membarrier, every other thread fetches instructions anew
    kMemory,  // membarrier, every other thread makes a fence
  };
  Kind kind;
  size_t offset = 0;  // in the entry that is patched
  std::vector<uint8_t> bytes = {};
};

// The requests of each step, in order, of a child process with two threads that
// attaches a probe with handlers to `function` and detaches it; looked at by
// ptrace.
struct Requests {
  std::string unavailable;  // why there are none
  EntryPatch patch;
  std::vector<Request> attach;
  std::vector<Request> detach;
};
Requests Watch(long (*function)(long, long));

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_HELD_WRITER_H_
