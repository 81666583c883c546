// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_PREPARE_H_
#define RETPROBE_RETHOOK_PREPARE_H_

#include "absl/status/status.h"

namespace retprobe {

// Makes the trampoline ready for this machine and process; once, before the
// first stub can be entered.
//
// Errors: what RegisterMembarrier reports: without a membarrier no probe could
//   ever be taken off safely.
absl::Status PrepareTrampoline();

// Waits until no thread is between reading a Site's list and publishing it in
// an instance. Together with a scan of the instances this tells when a list is
// out of use. Set-up only: makes system calls. False when the kernel no longer
// lets us (a seccomp filter since): nothing may be freed.
bool WaitForEntering();

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_PREPARE_H_
