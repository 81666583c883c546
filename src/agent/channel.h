// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_CHANNEL_H_
#define RETPROBE_AGENT_CHANNEL_H_

#include <cstddef>

#include "agent/session.h"

namespace retprobe::agent {

// A connection to the `retprobe` command, for the length of one exchange (see
// session.h). System calls only: usable in a forked child, unseen by probes.
// When the command is gone every operation fails, quietly.
class Channel {
 public:
  Channel(const char* socket_path, session::HelloKind kind);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // The answer to the hello, at most `size` bytes of it into `buffer`; its
  // length, or 0.
  size_t Receive(void* buffer, size_t size);

  // Passes shared memory on; `descriptor` stays the caller's.
  bool Send(session::AnnouncementKind kind, int descriptor);

  // Ends the exchange. False when the program shall not go on.
  bool Finish();

 private:
  int descriptor_;
};

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_CHANNEL_H_
