// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace retprobe::cli {

bool WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {  // the program made the terminal so
      pollfd writable = {fd, POLLOUT, 0};
      poll(&writable, 1, 1000);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

void Complain(absl::string_view text) {
  WriteAll(STDERR_FILENO,
           absl::StrCat("retprobe: ", absl::StrReplaceAll(text, {{"\n", " "}}),
                        "\n"));
}

absl::StatusOr<UniqueFd> OpenOutput(const std::string& path, int standard) {
  const int fd =
      path.empty()
          ? fcntl(standard, F_DUPFD_CLOEXEC, 3)
          : open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0 && !path.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": ", strerror(errno)));
  }
  return UniqueFd(fd);
}

}  // namespace retprobe::cli
