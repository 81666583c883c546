// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_HANDLERS_H_
#define RETPROBE_AGENT_HANDLERS_H_

#include <cstddef>
#include <cstdint>

#include "agent/session.h"
#include "retprobe/context.h"

// The part of the agent that runs in every probed call. Its own file, compiled
// without vector registers; it calls nothing of libc.
namespace retprobe {

struct ProbeState;
struct Site;

namespace agent {

// What the handlers need to know, in a page that the kernel wipes in a forked
// child: there it reads as "not armed", and the child leaves its parent's
// counters alone however it was forked.
struct Live {
  uint32_t armed;
  uint32_t cycle_counter;  // ticks are cycles, else nanoseconds
  uint32_t cpus;
  uint32_t generation;  // of this process image; tells stale thread ids
  uint64_t nanoseconds_per_tick_q32;
  session::EventRing* rings;  // null: no events
  uint64_t ring_stride;
  uint64_t ring_capacity;
};

// Points into the page; all zero until SetUpLive.
extern Live* g_live;

// Where one function's numbers go: cell of CPU 0, and bytes to the next CPU's.
struct FunctionCells {
  session::Counters* counters = nullptr;  // null: not yet, do not record
  uint64_t* histogram = nullptr;
  uint64_t counters_stride = 0;
  uint64_t histogram_stride = 0;
  uint32_t number = 0;

  // Where the library counts calls that were not probed (of the function, and
  // of the probe beyond its maxactive), where they are to be seen, and what to
  // subtract: empty, recursion, dying, depth, limit.
  const Site* site = nullptr;
  const ProbeState* probe = nullptr;
  session::FunctionRecord* record = nullptr;
  static constexpr int kReasons = 5;
  uint64_t missed_before[kReasons] = {};

  // Takes everything but `site`, `probe` and `missed_before` over from `cells`.
  void Publish(const FunctionCells& cells);

  // What the library has counted. Requires: the probe is attached.
  struct Missed {
    uint64_t counts[kReasons];
  };
  Missed MissedSoFar() const;

  // Brings the record up to date. Requires: the probe is attached.
  void StoreMissed() const;
};

bool OnEntry(const FunctionCells& cells, EntryContext& context) noexcept;
void OnReturn(const FunctionCells& cells, ReturnContext& context) noexcept;

// Bytes of activation data the handlers want.
inline constexpr size_t kActivationData = 16;
// Arguments that an event shows.
inline constexpr int kEventArguments = 4;

}  // namespace agent
}  // namespace retprobe

#endif  // RETPROBE_AGENT_HANDLERS_H_
