// SPDX-License-Identifier: Apache-2.0
#include "cli/event_loop.h"

#include <sys/epoll.h>

#include <utility>

namespace retprobe::cli {

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

void EventLoop::Add(int fd, std::function<void()> ready) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  callbacks_[fd] = std::move(ready);
}

void EventLoop::Remove(int fd) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  callbacks_.erase(fd);
}

void EventLoop::RunOnce(int milliseconds) {
  epoll_event events[16];
  const int count = epoll_wait(epoll_.get(), events, 16, milliseconds);
  for (int i = 0; i < count; ++i) {
    // Removed by an earlier one? A copy, since it may remove itself.
    const auto callback = callbacks_.find(events[i].data.fd);
    if (callback == callbacks_.end()) continue;
    const std::function<void()> ready = callback->second;
    ready();
  }
}

}  // namespace retprobe::cli
