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

}  // namespace retprobe

#endif  // RETPROBE_BASE_MEMBARRIER_H_
