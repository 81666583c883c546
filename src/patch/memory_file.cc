// SPDX-License-Identifier: Apache-2.0
#include "patch/memory_file.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace retprobe {

absl::StatusOr<MemoryFile> MemoryFile::Open() {
  // Through the thread: the process's main thread may have ended, and with it
  // what /proc/self/mem refers to.
  int file = open("/proc/thread-self/mem", O_RDWR | O_CLOEXEC);
  if (file < 0) file = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  if (file < 0) {
    return absl::PermissionDeniedError(absl::StrCat(
        "cannot open /proc/self/mem: ", strerrordesc_np(errno),
        // What a change of user does to a process, until it says otherwise.
        prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1
            ? ""
            : "; the process gave up privileges: prctl(PR_SET_DUMPABLE, 1) "
              "lets it write its own code again"));
  }
  return MemoryFile(file);
}

MemoryFile::~MemoryFile() {
  if (file_ >= 0) close(file_);
}

absl::Status MemoryFile::Write(uintptr_t address, const void* bytes,
                               size_t size) const {
  ssize_t written;
  do {
    written = pwrite(file_, bytes, size, static_cast<off_t>(address));
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(size)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      "cannot write code at 0x", absl::Hex(address), " through /proc/self/mem",
      written < 0 ? absl::StrCat(": ", strerrordesc_np(errno))
                  : ": short write"));
}

size_t MemoryFile::Read(uintptr_t address, void* bytes, size_t size) const {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(file_, static_cast<char*>(bytes) + done,
                              size - done, static_cast<off_t>(address + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace retprobe
