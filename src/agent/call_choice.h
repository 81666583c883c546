// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_CALL_CHOICE_H_
#define RETPROBE_AGENT_CALL_CHOICE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "retprobe/call_filter.h"

namespace retprobe::agent {

// Which calls the user means, in words; what they stand for changes with the
// modules that are loaded and with the process.
class CallChoice {
 public:
  CallChoice() = default;  // all
  // Texts as behind session::Setup, callers first.
  CallChoice(const char* texts, size_t callers_size, size_t threads_size);

  // As of now. `note` gets what is wrong with a caller that is not there.
  CallFilter Make(std::string* note) const;

 private:
  std::vector<std::string> callers_;
  std::vector<std::string> threads_;
};

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_CALL_CHOICE_H_
