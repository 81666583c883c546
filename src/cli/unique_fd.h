// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_UNIQUE_FD_H_
#define RETPROBE_CLI_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace retprobe::cli {

// A file descriptor that is closed with its owner; -1 for none.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset() { *this = UniqueFd(); }

 private:
  int fd_ = -1;
};

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_UNIQUE_FD_H_
