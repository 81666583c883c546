// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_SCAN_H_
#define RETPROBE_AGENT_SCAN_H_

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "agent/segment.h"
#include "symbols/symbols.h"

namespace retprobe::agent {

// Finds what the patterns name. Remembers what it has found, so that a scan
// after a dlopen yields what is new.
class Scanner {
 public:
  // Texts one after the other, each ended by a NUL.
  absl::Status ParsePatterns(const char* texts, size_t size);

  // Adds the functions of new modules that match to `segment`, those that must
  // not be probed with the reason, and says what became of each pattern.
  //
  // Requires: every loaded module is relocated.
  void Scan(Segment& segment);

  // The module that had a function at `address` is no more, or another.
  void Forget(uintptr_t address);

 private:
  struct Count {
    uint32_t modules = 0;
    uint32_t functions = 0;
  };

  bool IsNew(const Module& module);
  void ScanModule(const Module& module, Segment& segment);
  void AddFunction(const Module& module, Function& function, uint64_t offset,
                   Segment& segment);
  std::string NoteFor(const Pattern& pattern, const Count& count) const;

  std::vector<Pattern> patterns_;
  std::vector<Count> counts_;
  std::vector<Module> seen_;
  std::unordered_set<uintptr_t> addresses_;
};

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_SCAN_H_
