// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CHURN_WATCHED_H_
#define RETPROBE_TEST_CHURN_WATCHED_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "retprobe/return_probe.h"

namespace retprobe::test {

// What handlers did that no handler may do.
struct Violations {
  std::atomic<long> late{0};     // ran on what its owner had let go
  std::atomic<long> orphans{0};  // a return without its entry
  long total() const { return late + orphans; }
};
extern Violations g_violations;

// What the handlers of one probe own. Letting go poisons it; the memory stays
// and is used again, so that a handler which comes too late finds the poison,
// or another owner.
class Watched {
 public:
  enum Kind {
    kBoth,        // one entry and one return handler: the trampoline runs them
    kReturnOnly,  // nothing at entry
    kArguments,   // by way of C++
    kLimited,     // maxactive: some entries are declined; large data
    kKinds
  };

  // Begins a life: the options of a probe whose handlers use this.
  ReturnProbeOptions Begin(Kind kind);

  // Ends it. Requires: Detach has returned.
  void End() { ++life_; }
  bool alive() const { return life_ % 2 != 0; }

  // Of this life.
  long entries() const { return entries_; }
  long returned() const { return returned_; }
  long unwound() const { return unwound_; }

 private:
  bool OnEntry(uint64_t life, EntryContext& context);
  void OnReturn(uint64_t life, bool tagged, ReturnContext& context);
  void Use(uint64_t life) const;
  uint64_t Tag(uint64_t life) const;

  std::atomic<uint64_t> life_{0};  // odd while alive
  std::atomic<long> entries_{0};
  std::atomic<long> returned_{0};
  std::atomic<long> unwound_{0};
};

// The next of a thousand that take turns, one that is not alive.
Watched& NextWatched();

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_CHURN_WATCHED_H_
