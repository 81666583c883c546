// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_EVENT_WRITER_H_
#define RETPROBE_CLI_EVENT_WRITER_H_

#include <string>
#include <unordered_map>

#include "cli/session_clock.h"
#include "cli/session_server.h"

namespace retprobe::cli {

// Makes lines of events:
//
//   SECONDS THREAD MODULE:FUNCTION(ARGUMENTS) = RESULT DURATION HOW
class EventWriter {
 public:
  EventWriter(const SessionClock* clock, bool json)
      : clock_(clock), json_(json) {}

  // Appends the lines of `events`, in the order in which the calls ended.
  void Append(SessionServer::Events& events, std::string* text);

  // Forgets the names of processes, whose numbers may be used again.
  void Forget() { names_.clear(); }

 private:
  struct Names {
    std::string module;
    std::string function;
    std::string display;
  };

  const Names& NamesOf(const Process& process, uint32_t function);
  void AppendText(const Process& process, const session::EventRecord& event,
                  std::string* text);
  void AppendJson(const Process& process, const session::EventRecord& event,
                  std::string* text);

  const SessionClock* clock_;
  bool json_;
  std::unordered_map<const Process*, std::unordered_map<uint32_t, Names>>
      names_;
};

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_EVENT_WRITER_H_
