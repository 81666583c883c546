// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BASE_CPU_H_
#define RETPROBE_BASE_CPU_H_

#include <sys/rseq.h>

#include <cstddef>

#include "arch/arch.h"

namespace retprobe {

// The number that every CPU id this system can ever have stays below: the
// highest id in /sys/devices/system/cpu/possible, plus 1. Never a count: ids
// need not be dense. Read once. Not async-signal-safe the first time.
int PossibleCpus();

// The highest id in a list as the kernel writes it ("0-3,8"); -1 if there is
// none.
int HighestCpu(const char* list);

// Whether glibc registered restartable sequences, the kernel honours them
// (tried once) and the tools at work (ThreadSanitizer, valgrind) let us use
// them. The answer is the process's; a thread may still lack a registration.
bool RseqAvailable();

// Where the thread's rseq area lies, from the thread pointer: the same in every
// thread, and there even when the area is not registered.
inline ptrdiff_t RseqOffset() noexcept { return __rseq_offset; }

// Finds the fastest way to ask for the CPU without rseq. Call it before
// CurrentCpu is called from a signal handler; otherwise a system call is used.
void PrepareCurrentCpu();

// The CPU this thread runs on, a hint that is stale as soon as it is read; -1
// when nobody knows. Async-signal-safe, calls nothing of libc.
int CurrentCpu() noexcept;

// While one exists, CurrentCpu() answers what it is told, in every thread.
// For tests of pools that do not use rseq, which would not be fooled.
class FakeCpu {
 public:
  explicit FakeCpu(int cpu) { SwitchTo(cpu); }
  ~FakeCpu();
  FakeCpu(const FakeCpu&) = delete;
  FakeCpu& operator=(const FakeCpu&) = delete;
  void SwitchTo(int cpu);
};

}  // namespace retprobe

#endif  // RETPROBE_BASE_CPU_H_
