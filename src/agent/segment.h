// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_SEGMENT_H_
#define RETPROBE_AGENT_SEGMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "agent/handlers.h"
#include "agent/session.h"

namespace retprobe::agent {

// A segment as the agent builds it: collect first, then Map, then fill in
// states. Lives as long as the process.
class Segment {
 public:
  struct Entry {
    std::string name;
    uint32_t module;  // string
    uintptr_t address;
    std::string reason;  // empty: to be probed
    uint32_t size = 0;
    uint32_t traits = 0;
  };

  explicit Segment(uint32_t first_function) : first_(first_function) {}

  // A string's offset; equal strings in a row are stored once.
  uint32_t Intern(absl::string_view text);

  std::string text(uint32_t offset) const { return strings_.c_str() + offset; }

  void SetProgram(absl::string_view path) { program_ = Intern(path); }
  void SetError(absl::string_view text) { error_ = Intern(text); }
  bool failed() const { return error_ != 0; }
  void SetWarning(absl::string_view text) { warning_ = Intern(text); }
  void AddPattern(uint32_t modules, uint32_t functions, absl::string_view note);
  std::vector<Entry>& entries() { return entries_; }

  // Writes everything into shared memory. False without memory. The descriptor
  // is to be passed on and closed.
  bool Map(uint32_t cpus, int* descriptor);

  // In a forked child, also one of a threaded program: new memory at the old
  // address, same functions, all counters 0. System calls and copies only.
  bool MapAgain(int* descriptor);

  // Requires: mapped.
  session::SegmentHeader& header() { return *header_; }
  session::FunctionRecord* records() const;
  FunctionCells CellsOf(uint32_t index) const;

 private:
  void Layout(uint32_t cpus, session::SegmentHeader& header) const;

  uint32_t first_;
  uint32_t program_ = 0;
  uint32_t error_ = 0;
  uint32_t warning_ = 0;
  std::string strings_ = std::string(1, '\0');
  uint32_t last_interned_ = 0;
  std::vector<Entry> entries_;
  std::vector<session::PatternRecord> patterns_;
  session::SegmentHeader* header_ = nullptr;
};

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_SEGMENT_H_
