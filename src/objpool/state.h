// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_STATE_H_
#define RETPROBE_OBJPOOL_STATE_H_

#include <cstdint>

#include "retprobe/arch/magazine.h"

// The one word that says where a pool's idle objects may be. While all of its
// low bits are zero there are none: a failing pop reads this word, writes
// nothing shared, and costs the same on 2 CPUs and on 256.
//
//   0..15   the gate: CPU ids below it may use their magazines. 0: the pool is
//           closed, because somebody went without; every object is then put
//           where all can reach it.
//   16      unsettled: magazines may hold objects that nobody has frozen. Set
//           while the gate is open, and until a pass over all magazines. In
//           pools with spares: several objects may be moved at once.
//   17      calm: nobody has missed since this was set.
//   18      fresh: objects may be made that never were.
//   19      sole: the gate's last CPU alone may use its magazine; see opening.h
//   20..39  how many places (slots, depots) may hold objects; see occupancy.h
//   40      dying: Fini was called
//   41      shrinking: there are objects too many
//   42..63  generation: how often the gate changed, so that who slept over
//           that notices

namespace retprobe {

inline constexpr uint64_t kGateMask = 0xffff;
inline constexpr uint64_t kUnsettled = RETPROBE_STATE_UNSETTLED;
inline constexpr uint64_t kCalm = uint64_t{1} << 17;
inline constexpr uint64_t kFresh = uint64_t{1} << 18;
inline constexpr uint64_t kSole = RETPROBE_STATE_SOLE;
inline constexpr uint64_t kOnePlace = uint64_t{1} << 20;
inline constexpr uint64_t kDying = uint64_t{1} << RETPROBE_STATE_WHERE_BITS;
inline constexpr uint64_t kShrinking = kDying << 1;
inline constexpr uint64_t kOneGeneration = kShrinking << 1;
inline constexpr uint64_t kGenerationMask = ~(kOneGeneration - 1);

constexpr bool IsOpen(uint64_t state) { return (state & kGateMask) != 0; }

// Whether CPU `cpu` alone may use its magazine.
constexpr bool IsSoleFor(uint64_t state, uint32_t cpu) {
  return (state & (kSole | kGateMask)) == (kSole | (uint64_t{cpu} + 1));
}

// Whether CPU `cpu` may use its magazine.
constexpr bool IsOpenFor(uint64_t state, uint32_t cpu) {
  return (state & kSole) != 0 ? IsSoleFor(state, cpu)
                              : cpu < (state & kGateMask);
}

// Whether no object is idle, and none can be made.
constexpr bool IsEmpty(uint64_t state) {
  return state << (64 - RETPROBE_STATE_WHERE_BITS) == 0;
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_STATE_H_
