// SPDX-License-Identifier: Apache-2.0
#include "topology/memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace retprobe {

absl::Status AllowHugePages(void* address, size_t bytes, bool allow) {
  if (madvise(address, bytes, allow ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0) {
    return absl::OkStatus();
  }
  if (errno == EINVAL) {
    return absl::UnimplementedError(
        "this kernel has no transparent huge pages");
  }
  return absl::InternalError(
      absl::StrCat("madvise on ", bytes, " bytes: ", strerror(errno)));
}

}  // namespace retprobe
