// SPDX-License-Identifier: Apache-2.0
#include "rethook/entering.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "base/cpu.h"
#include "base/membarrier.h"
#include "rethook/call_checks.h"
#include "rethook/prepare.h"
#include "rethook/trampoline.h"

extern "C" {
ptrdiff_t retprobe_rseq_offset __attribute__((visibility("hidden")));
int32_t retprobe_vector_level __attribute__((visibility("hidden"))) = -1;
}

namespace retprobe {

EnteringCounts g_entering;

namespace {

// Stands in for the rseq area of threads without one: the trampoline may always
// write its rseq_cs, and reads a CPU that no magazine belongs to.
struct UnregisteredRseq {
  uint32_t cpu_id_start;
  uint32_t cpu_id;
  uint64_t rseq_cs;
  uint64_t reserved[2];
};
thread_local UnregisteredRseq g_unregistered
    __attribute__((tls_model("initial-exec"))) = {0, ~0u, 0, {0, 0}};

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

// In a child only the forking thread lives; it is entering if it forked in a
// signal handler.
void ForgetOtherThreads() {
  for (EnteringCounts::Line& line : g_entering.lines) {
    // relaxed: the child has one thread.
    line.count[0].store(0, std::memory_order_relaxed);
    line.count[1].store(0, std::memory_order_relaxed);
  }
  // relaxed: as above.
  if (retprobe_guard.entering != nullptr) {
    retprobe_guard.entering->store(1, std::memory_order_relaxed);
  }
  ForgetThreadId();
}

int32_t VectorLevel() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return 3;
  }
  if (__builtin_cpu_supports("avx512f")) return 2;
  return __builtin_cpu_supports("avx") ? 1 : 0;
}

absl::Status Prepare() {
  absl::Status status = RegisterMembarrier(Membarrier::kMemory);
  if (status.ok() && RseqAvailable()) {
    status = RegisterMembarrier(Membarrier::kRseq);
  }
  if (!status.ok()) return status;
  retprobe_rseq_offset =
      RseqAvailable() ? RseqOffset()
                      : reinterpret_cast<char*>(&g_unregistered) -
                            static_cast<char*>(__builtin_thread_pointer());
  retprobe_vector_level = VectorLevel();
  pthread_atfork(nullptr, nullptr, &ForgetOtherThreads);
  return absl::OkStatus();
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

absl::Status PrepareTrampoline() {
  static const absl::Status* const prepared = new absl::Status(Prepare());
  return *prepared;
}

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

}  // namespace retprobe
