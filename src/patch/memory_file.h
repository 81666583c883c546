// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_MEMORY_FILE_H_
#define RETPROBE_PATCH_MEMORY_FILE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retprobe {

// This process's memory as a file. Writes reach pages that are mapped without
// PROT_WRITE, so that no page is ever writable and executable; reads of what
// is not mapped fail instead of faulting. Opened for one operation at a time:
// programs close descriptors they do not know.
class MemoryFile {
 public:
  // Errors: kPermissionDenied, with the system's reason.
  static absl::StatusOr<MemoryFile> Open();
  MemoryFile(MemoryFile&& other) noexcept : file_(other.file_) {
    other.file_ = -1;
  }
  MemoryFile& operator=(MemoryFile&&) = delete;
  ~MemoryFile();

  // Errors: kPermissionDenied. Whole or not at all for up to a page.
  absl::Status Write(uintptr_t address, const void* bytes, size_t size) const;

  // Returns how many of `size` bytes were read before one that cannot be.
  size_t Read(uintptr_t address, void* bytes, size_t size) const;

 private:
  explicit MemoryFile(int file) : file_(file) {}
  int file_;
};

}  // namespace retprobe

#endif  // RETPROBE_PATCH_MEMORY_FILE_H_
