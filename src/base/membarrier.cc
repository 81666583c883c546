// SPDX-License-Identifier: Apache-2.0
#include "base/membarrier.h"

#include <sched.h>

#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"

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

bool SynchronizeMemory() {
  if (IssueMembarrier(Membarrier::kMemory)) return true;
  const int cpus = PossibleCpus();
  const size_t size = CPU_ALLOC_SIZE(cpus);
  std::vector<char> before(size), one(size);
  auto* const before_set = reinterpret_cast<cpu_set_t*>(before.data());
  auto* const one_set = reinterpret_cast<cpu_set_t*>(one.data());
  if (sched_getaffinity(0, size, before_set) != 0) return false;
  for (int cpu = 0; cpu < cpus; ++cpu) {
    CPU_ZERO_S(size, one_set);
    CPU_SET_S(cpu, size, one_set);
    // Fails for a CPU that is off, or that no thread of ours may use.
    sched_setaffinity(0, size, one_set);
  }
  sched_setaffinity(0, size, before_set);
  return false;
}

}  // namespace retprobe
