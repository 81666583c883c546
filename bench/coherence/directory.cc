// SPDX-License-Identifier: Apache-2.0
#include "coherence/directory.h"

#include <algorithm>

namespace retprobe::bench {

LineState Directory::StateOf(const Line& line, uint32_t cpu) const {
  if (!line.holders[cpu]) return LineState::kInvalid;
  if (!line.owned) return LineState::kShared;
  return line.dirty ? LineState::kModified : LineState::kExclusive;
}

bool Directory::Hits(const Line& line, uint32_t cpu, AccessKind kind) const {
  return line.holders[cpu] && (kind == AccessKind::kLoad || line.owned);
}

bool Directory::DisturbsOthers(const Line& line, uint32_t cpu,
                               AccessKind kind) const {
  if (kind == AccessKind::kLoad) return line.owned;
  return line.holders.any();
}

Picoseconds Directory::StartMiss(const Line& line, uint32_t cpu,
                                 AccessKind kind) {
  Picoseconds nearest = ~Picoseconds{0};
  Picoseconds farthest = 0;
  uint64_t others = 0;
  for (size_t other = line.holders._Find_first(); other < line.holders.size();
       other = line.holders._Find_next(other)) {
    if (other == cpu) continue;
    const Picoseconds cost = costs_.transfer[static_cast<size_t>(
        machine_.Between(cpu, static_cast<uint32_t>(other)))];
    nearest = std::min(nearest, cost);
    farthest = std::max(farthest, cost);
    ++others;
  }
  if (line.holders.none()) {
    ++traffic.cold;
    return costs_.cold;
  }
  ++(line.holders[cpu] ? traffic.upgrades : traffic.transfers);
  if (kind == AccessKind::kLoad) return nearest;
  traffic.invalidations += others;
  return farthest;
}

void Directory::Disturb(Line& line, uint32_t cpu, AccessKind kind) {
  if (kind == AccessKind::kLoad) {
    line.owned = line.dirty = false;
  } else if (!forget_invalidations) {
    const bool had = line.holders[cpu];
    line.holders.reset();
    line.holders[cpu] = had;
  }
}

void Directory::Install(Line& line, uint32_t cpu, AccessKind kind) {
  if (kind != AccessKind::kLoad) {
    line.owned = line.dirty = true;
  } else if (line.holders.none()) {
    line.owned = true;
  }
  line.holders[cpu] = true;
}

Picoseconds Directory::HitCost(AccessKind kind) const {
  switch (kind) {
    case AccessKind::kLoad:
      return costs_.load;
    case AccessKind::kStore:
      return costs_.store;
    case AccessKind::kUpdate:
      return costs_.update;
  }
  return 0;
}

}  // namespace retprobe::bench
