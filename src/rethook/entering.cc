// SPDX-License-Identifier: Apache-2.0
#include "rethook/entering.h"

#include <sched.h>
#include <time.h>

#include "base/cpu.h"
#include "base/membarrier.h"

namespace retprobe {

EnteringCounts g_entering;

namespace {

int64_t Sum(uint32_t phase) {
  int64_t sum = 0;
  for (const EnteringCounts::Line& line : g_entering.lines) {
    // A1 <- R5: whoever is not counted any more has named its list in an
    // instance, which a scan after this sees.
    // S1 <-> S0: total order of the change of the list before this sum.
    sum += line.count[phase].load(std::memory_order_seq_cst);
  }
  return sum;
}

// Whether nobody is on the slow way that began in `phase`. That takes less than
// a microsecond; but one may be stopped there, or in a signal handler that
// interrupted it and does not return.
bool AwaitNone(uint32_t phase) {
  constexpr int kYields = 1000;
  constexpr int kNaps = 100;  // of a tenth of a millisecond
  for (int i = 0; Sum(phase) != 0; ++i) {
    if (i >= kYields + kNaps) return false;
    if (i < kYields) {
      sched_yield();
    } else {
      const timespec nap = {0, 100'000};
      nanosleep(&nap, nullptr);
    }
  }
  return true;
}

}  // namespace

bool WaitForEntering() {
  // Whoever is inside the critical section that reads a list begins again, and
  // reads the new one; whoever has left it has published the list it read.
  if (RseqAvailable() && !IssueMembarrier(Membarrier::kRseq)) return false;
  // The slow way. A thread may have read the phase long ago and add itself to
  // either count now, so both are awaited, the current one last.
  for (int i = 0; i < 2; ++i) {
    // relaxed: only one waiter at a time (the registry's lock).
    if (!AwaitNone(g_entering.phase.fetch_add(1, std::memory_order_relaxed) &
                   1)) {
      return false;
    }
  }
  return true;
}

void ForgetOtherEntering() {
  for (EnteringCounts::Line& line : g_entering.lines) {
    // relaxed: the child has one thread.
    line.count[0].store(0, std::memory_order_relaxed);
    line.count[1].store(0, std::memory_order_relaxed);
  }
  // relaxed: as above.
  if (retprobe_guard.entering != nullptr) {
    retprobe_guard.entering->store(1, std::memory_order_relaxed);
  }
}

}  // namespace retprobe
