// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_DIRECTORY_H_
#define RETPROBE_BENCH_COHERENCE_DIRECTORY_H_

#include <bitset>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "coherence/costs.h"
#include "coherence/machine.h"

namespace retprobe::bench {

// What one CPU's cache has of a line.
enum class LineState : uint8_t { kInvalid, kShared, kExclusive, kModified };

enum class AccessKind : uint8_t { kLoad, kStore, kUpdate };

// What the caches did, all CPUs together.
struct Traffic {
  uint64_t transfers = 0;      // lines that came from another CPU's cache
  uint64_t invalidations = 0;  // copies that other CPUs lost
  uint64_t upgrades = 0;       // shared lines that became one's own
  uint64_t cold = 0;           // lines that no CPU had
};

// Who has which line: MESI. A shared line is supplied by the nearest CPU that
// has it, which is what Intel's F state and a cache shared by neighbours come
// to; O would only spare a write to memory, which costs nothing here.
class Directory {
 public:
  static constexpr int kLineShift = 6;

  struct Line {
    std::bitset<kMaxModelCpus> holders;
    bool owned = false;  // the one holder has it exclusively
    bool dirty = false;  // and has changed it
    bool busy = false;   // on its way to a CPU
    std::vector<uint32_t> waiting;
  };

  Directory(const Machine& machine, const Costs& costs)
      : machine_(machine), costs_(costs) {}

  Line& At(const void* address) {
    return lines_[reinterpret_cast<uintptr_t>(address) >> kLineShift];
  }

  LineState StateOf(const Line& line, uint32_t cpu) const;

  // Whether the CPU's own copy is good for the access.
  bool Hits(const Line& line, uint32_t cpu, AccessKind kind) const;

  // Whether the others' copies must change first. Requires: !Hits.
  bool DisturbsOthers(const Line& line, uint32_t cpu, AccessKind kind) const;

  // How long until the CPU has what it needs; counts the traffic.
  // Requires: !Hits.
  Picoseconds StartMiss(const Line& line, uint32_t cpu, AccessKind kind);

  // A miss goes on in two steps: the others' copies change, then ours comes.
  // Between the two nobody has what we asked for.
  void Disturb(Line& line, uint32_t cpu, AccessKind kind);
  void Install(Line& line, uint32_t cpu, AccessKind kind);

  // A hit, which may change E to M.
  void Touch(Line& line, AccessKind kind) {
    if (kind != AccessKind::kLoad) line.dirty = true;
  }

  Picoseconds HitCost(AccessKind kind) const;

  Traffic traffic;

  // For tests of the tests.
  bool forget_invalidations = false;

 private:
  const Machine& machine_;
  const Costs& costs_;
  std::unordered_map<uintptr_t, Line> lines_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_DIRECTORY_H_
