// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_PROBING_H_
#define RETPROBE_AGENT_PROBING_H_

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "agent/call_choice.h"
#include "agent/handlers.h"
#include "agent/scan.h"
#include "agent/segment.h"
#include "agent/session.h"
#include "retprobe/return_probe.h"

namespace retprobe::agent {

// What the agent probes, from the start of the program to its end: finds the
// functions, attaches the probes, and keeps up with modules that come and go.
//
// Set-up only, one thread at a time (the loader's lock).
class Probing {
 public:
  explicit Probing(const session::Setup& setup) : setup_(setup) {}

  absl::Status ParsePatterns(const char* texts) {
    return scanner_.ParsePatterns(texts, setup_.patterns_size);
  }

  // Which calls of the functions are meant.
  void ParseChoice(const char* texts) {
    choice_ = CallChoice(texts, setup_.callers_size, setup_.threads_size);
  }

  // Probes what matches in modules that are new, and probes again what came
  // back. What is found for the first time gets a segment: unmapped, or null
  // when there is nothing to tell.
  std::unique_ptr<Segment> Probe();

  // Lets go of functions whose modules have been unloaded, or loaded anew.
  void DropGone();

  // Maps the segment of the last Probe; from here on its functions count.
  // Returns the descriptor to pass on, or -1.
  int Publish(std::unique_ptr<Segment> segment);

  // Brings the missed calls in the segments up to date.
  void StoreMissed();

  // In a forked child, whose segments are new: only what it misses itself. Its
  // one thread is its main one.
  void StartCountingAnew();

  // All published segments.
  const std::vector<std::unique_ptr<Segment>>& segments() const {
    return segments_;
  }

 private:
  struct Function {
    std::string key;  // module and name
    uintptr_t address;
    uint64_t code;        // at the address, probe included
    FunctionCells cells;  // what the handlers were given a pointer to
    std::unique_ptr<ReturnProbe> probe;
  };

  std::string ChooseAgain();
  ReturnProbeOptions OptionsFor(const FunctionCells* cells) const;
  Function* FunctionFor(const Segment& segment, const Segment::Entry& entry);
  static void KeepCounting(Function& function);
  static bool IsThere(const Function& function,
                      const std::vector<Module>& modules);

  session::Setup setup_;
  Scanner scanner_;
  CallChoice choice_;
  CallFilter filter_;
  std::vector<std::unique_ptr<Segment>> segments_;
  std::vector<std::unique_ptr<Function>> functions_;
  std::unordered_map<std::string, Function*> gone_;
  // Beside the entries of the segment that is not published yet.
  std::vector<Function*> unpublished_;
  uint32_t count_ = 0;  // functions that have a number
};

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_PROBING_H_
