// SPDX-License-Identifier: Apache-2.0
#include "agent/channel.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cstring>

#include "agent/system_calls.h"

namespace retprobe::agent {
namespace {

template <typename... Args>
long Retry(long number, Args... args) {
  long result;
  do {
    result = Syscall(number, args...);
  } while (result == -EINTR);
  return result;
}

int Connect(const char* path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const size_t length = strlen(path);
  if (length >= sizeof(address.sun_path)) return -1;
  memcpy(address.sun_path, path, length);
  const long descriptor =
      Syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  if (Retry(SYS_connect, descriptor, &address, sizeof(address)) < 0) {
    Syscall(SYS_close, descriptor);
    return -1;
  }
  return static_cast<int>(descriptor);
}

long SendBytes(int socket, const void* data, size_t size) {
  return Retry(SYS_sendto, socket, data, size, MSG_NOSIGNAL, nullptr, 0);
}

}  // namespace

Channel::Channel(const char* socket_path, session::HelloKind kind)
    : descriptor_(Connect(socket_path)) {
  if (descriptor_ < 0) return;
  const session::Hello hello = {session::kMagic, session::kVersion, kind, 0};
  SendBytes(descriptor_, &hello, sizeof(hello));
}

Channel::~Channel() {
  if (descriptor_ >= 0) Syscall(SYS_close, descriptor_);
}

size_t Channel::Receive(void* buffer, size_t size) {
  if (descriptor_ < 0) return 0;
  const long received =
      Retry(SYS_recvfrom, descriptor_, buffer, size, 0, nullptr, nullptr);
  return received < 0 ? 0 : static_cast<size_t>(received);
}

bool Channel::Send(session::AnnouncementKind kind, int descriptor) {
  if (descriptor_ < 0) return false;
  session::Announcement announcement = {session::kMagic, kind};
  iovec part = {&announcement, sizeof(announcement)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  return Retry(SYS_sendmsg, descriptor_, &message, MSG_NOSIGNAL) >= 0;
}

bool Channel::Finish() {
  if (!Send(session::AnnouncementKind::kDone, -1)) return true;
  session::Verdict verdict;
  return Receive(&verdict, sizeof(verdict)) != sizeof(verdict) ||
         verdict.magic != session::kMagic || verdict.proceed != 0;
}

}  // namespace retprobe::agent
