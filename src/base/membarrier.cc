// SPDX-License-Identifier: Apache-2.0
#include "base/membarrier.h"

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace retprobe {
namespace {

struct Registration {
  int command;
  const char* name;
};

Registration RegistrationOf(Membarrier barrier) {
  switch (barrier) {
    case Membarrier::kMemory:
      return {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, "PRIVATE_EXPEDITED"};
    case Membarrier::kRseq:
      return {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ,
              "PRIVATE_EXPEDITED_RSEQ"};
    case Membarrier::kSyncCore:
      break;
  }
  return {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
          "PRIVATE_EXPEDITED_SYNC_CORE"};
}

}  // namespace

absl::Status RegisterMembarrier(Membarrier barrier) {
  const Registration registration = RegistrationOf(barrier);
  const long error = -arch::SystemCall(SYS_membarrier, registration.command);
  switch (error) {
    case 0:
      return absl::OkStatus();
    case ENOSYS:
    case EINVAL:
      return absl::UnimplementedError(absl::StrCat(
          "this kernel has no membarrier ", registration.name,
          error == ENOSYS ? " (or a seccomp filter hides it)" : ""));
    default:
      return absl::PermissionDeniedError(absl::StrCat(
          "membarrier ", registration.name,
          " is forbidden, probably by a seccomp filter (errno ", error, ")"));
  }
}

}  // namespace retprobe
