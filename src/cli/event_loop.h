// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_EVENT_LOOP_H_
#define RETPROBE_CLI_EVENT_LOOP_H_

#include <functional>
#include <map>

#include "cli/unique_fd.h"

namespace retprobe::cli {

// Calls back when descriptors become readable. One thread.
class EventLoop {
 public:
  EventLoop();

  // `ready` is called while `fd` is readable or hung up, until Remove; it may
  // add and remove.
  void Add(int fd, std::function<void()> ready);
  void Remove(int fd);

  // Waits for at most `milliseconds` and makes the calls that are due.
  void RunOnce(int milliseconds);

 private:
  UniqueFd epoll_;
  std::map<int, std::function<void()>> callbacks_;
};

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_EVENT_LOOP_H_
