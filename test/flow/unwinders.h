// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_FLOW_UNWINDERS_H_
#define RETPROBE_TEST_FLOW_UNWINDERS_H_

#include <ucontext.h>

#include <cstdint>
#include <vector>

namespace retprobe::test {

// From the innermost frame outwards.
struct Trace {
  struct Frame {
    uintptr_t pc;
    uintptr_t rbx, rbp;  // which the trampoline uses meanwhile
    bool operator==(const Frame&) const = default;
  };
  static constexpr int kMost = 512;
  int count = 0;
  Frame frames[kMost];

  void Add(const Frame& frame) {
    if (count < kMost) frames[count++] = frame;
  }
};

// An unwinder as profilers and crash reporters use it: called in a signal
// handler, it walks the interrupted code's frames.
struct StackWalker {
  const char* name;
  // From the interrupted instruction on; nothing where the walk does not get
  // as far as that. Requires: the caller is the signal handler.
  void (*walk)(const ucontext_t& interrupted, Trace* trace);
  bool sees_stubs;  // code that no module's unwind table covers
};

// Those that this machine has: libgcc's always; LLVM's and nongnu's each when
// its library is there (libunwind.so.1, libunwind.so.8), beside libgcc's, which
// stays the process's. Not async-signal-safe the first time.
const std::vector<StackWalker>& StackWalkers();

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_FLOW_UNWINDERS_H_
