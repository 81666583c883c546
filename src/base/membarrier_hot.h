// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BASE_MEMBARRIER_HOT_H_
#define RETPROBE_BASE_MEMBARRIER_HOT_H_

#include <linux/membarrier.h>
#include <sys/syscall.h>

#include "arch/arch.h"

namespace retprobe {

// What every other running thread of this process has done when
// IssueMembarrier returns; threads that do not run do it before they go on.
enum class Membarrier : int {
  // a full memory barrier
  kMemory = MEMBARRIER_CMD_PRIVATE_EXPEDITED,
  // and restarted its restartable sequence, if in one
  kRseq = MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
  // and serialized its instruction stream, for code changed meanwhile
  kSyncCore = MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
};

// Requires: RegisterMembarrier(barrier) succeeded in this program; else false.
// Async-signal-safe, leaves errno alone.
inline bool IssueMembarrier(Membarrier barrier) noexcept {
  return arch::SystemCall(SYS_membarrier, static_cast<long>(barrier)) == 0;
}

}  // namespace retprobe

#endif  // RETPROBE_BASE_MEMBARRIER_HOT_H_
