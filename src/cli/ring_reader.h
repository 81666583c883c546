// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_RING_READER_H_
#define RETPROBE_CLI_RING_READER_H_

#include <memory>
#include <vector>

#include "agent/session.h"
#include "cli/unique_fd.h"

namespace retprobe::cli {

// The consumer of a process's event rings.
class RingReader {
 public:
  // Null when it is not a ring file of ours.
  static std::unique_ptr<RingReader> Open(UniqueFd file);
  ~RingReader();

  // Appends what is there to `events`, of each ring in order. `ended`: the
  // process is gone; records that it began and never finished are passed over.
  // Returns whether there was anything.
  bool Read(std::vector<session::EventRecord>* events, bool ended);

 private:
  RingReader() = default;
  bool ReadRing(session::EventRing* ring,
                std::vector<session::EventRecord>* events, bool ended);

  session::RingHeader header_ = {};
  char* memory_ = nullptr;
};

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_RING_READER_H_
