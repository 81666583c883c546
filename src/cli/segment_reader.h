// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_SEGMENT_READER_H_
#define RETPROBE_CLI_SEGMENT_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "agent/session.h"
#include "cli/report.h"
#include "cli/unique_fd.h"

namespace retprobe::cli {

// A segment that an agent passed on, read while the program writes to it and
// after it is gone. What it says is checked: the program may have scribbled
// over it.
class SegmentReader {
 public:
  // Null when it is not a segment of ours.
  static std::unique_ptr<SegmentReader> Open(UniqueFd file);
  ~SegmentReader();

  std::string program() const { return Text(header_.program); }
  std::string error() const { return Text(header_.error); }
  std::string warning() const { return Text(header_.warning); }
  uint32_t pid() const { return header_.pid; }
  uint32_t first_function() const { return header_.first_function; }
  uint32_t function_count() const { return header_.function_count; }
  uint32_t pattern_count() const { return header_.pattern_count; }
  session::PatternRecord pattern(uint32_t index) const;
  std::string note(const session::PatternRecord& pattern) const {
    return Text(pattern.note);
  }
  uint64_t instances() const;

  // Module path and name of a function by its number in this segment.
  std::string module(uint32_t index) const;
  std::string name(uint32_t index) const;

  // All functions with their numbers as of now.
  std::vector<FunctionReport> ReadFunctions() const;

 private:
  SegmentReader() = default;
  bool Valid() const;
  std::string Text(uint32_t offset) const;
  session::FunctionRecord record(uint32_t index) const;
  void AddCpu(uint32_t cpu, std::vector<FunctionReport>& functions) const;
  void AddHistogram(uint32_t cpu, uint32_t index, FunctionReport& to) const;

  UniqueFd file_;
  session::SegmentHeader header_ = {};
  const char* table_ = nullptr;  // [0, header_.counters), mapped
};

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_SEGMENT_READER_H_
