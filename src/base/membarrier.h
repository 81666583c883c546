// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BASE_MEMBARRIER_H_
#define RETPROBE_BASE_MEMBARRIER_H_

#include "absl/status/status.h"
#include "base/membarrier_hot.h"

namespace retprobe {

// Asks the kernel for the right to Issue `barrier`, once per process (a fork
// child inherits it, a new program does not).
//
// Errors: kUnimplemented, the kernel is too old or built without it;
//   kPermissionDenied, forbidden, as seccomp filters do.
absl::Status RegisterMembarrier(Membarrier barrier);

// As IssueMembarrier(Membarrier::kMemory), and where that is refused (a seccomp
// filter since it was registered) by running on every CPU in turn: whoever ran
// there was switched out, which is a full barrier; false then, because a CPU on
// which this thread may not run escapes that. Set-up only.
bool SynchronizeMemory();

}  // namespace retprobe

#endif  // RETPROBE_BASE_MEMBARRIER_H_
