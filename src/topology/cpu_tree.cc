// SPDX-License-Identifier: Apache-2.0
#include "topology/cpu_tree.h"

#include <algorithm>
#include <tuple>

namespace retprobe {
namespace {

// Leaves from `begin` to `end` that nobody tells apart but by the tree.
struct Run {
  int begin;
  int end;
  int node;
  int kind;
  bool known;
};

std::vector<Run> RunsOf(const std::vector<CpuLeaf>& leaves) {
  std::vector<Run> runs;
  for (int i = 0; i < static_cast<int>(leaves.size()); ++i) {
    const CpuLeaf& leaf = leaves[i];
    const bool known = leaf.node >= 0;
    if (!runs.empty() && runs.back().node == leaf.node &&
        runs.back().kind == leaf.kind) {
      runs.back().end = i + 1;
    } else {
      runs.push_back({i, i + 1, leaf.node, leaf.kind, known});
    }
  }
  return runs;
}

class RingBuilder {
 public:
  RingBuilder(const std::vector<CpuLeaf>& leaves,
              const NodeDistances& distances)
      : leaves_(leaves), distances_(distances), runs_(RunsOf(leaves)) {}

  // Appends the rings of the leaf at `place`: from each ancestor, going up,
  // those leaves that the one before did not have.
  void Append(int place, std::vector<StealRing>& rings) {
    const int size = static_cast<int>(leaves_.size());
    int begin = place;
    int end = place + 1;
    while (begin > 0 || end < size) {
      const int left = begin > 0 ? leaves_[begin].depth_shared_with_left : -2;
      const int right = end < size ? leaves_[end].depth_shared_with_left : -2;
      const int depth = std::max(left, right);
      const int inner_begin = begin;
      const int inner_end = end;
      while (begin > 0 && leaves_[begin].depth_shared_with_left >= depth) {
        --begin;
      }
      while (end < size && leaves_[end].depth_shared_with_left >= depth) ++end;
      AppendLevel(leaves_[place],
                  {static_cast<uint16_t>(begin), static_cast<uint16_t>(end),
                   static_cast<uint16_t>(inner_begin),
                   static_cast<uint16_t>(inner_end)},
                  rings);
    }
  }

 private:
  // How near, after the tree; the smallest first.
  using Nearness = std::tuple<uint64_t, bool, bool>;
  struct Piece {
    Nearness nearness;
    int begin;
    int end;
  };

  void AppendPiece(const CpuLeaf& own, const Run& run, int begin, int end) {
    begin = std::max(begin, run.begin);
    end = std::min(end, run.end);
    if (begin >= end) return;
    const Nearness nearness = {distances_.Between(own.node, run.node),
                               run.kind != own.kind, !run.known};
    pieces_.push_back({nearness, begin, end});
  }

  // Splits the ring where nearness differs. Pieces begin with what is to the
  // right of the hole, so that neighbours begin with their next neighbour.
  void AppendLevel(const CpuLeaf& own, const StealRing& ring,
                   std::vector<StealRing>& rings) {
    pieces_.clear();
    for (const Run& run : runs_) {
      AppendPiece(own, run, ring.hole_end, ring.end);
    }
    for (const Run& run : runs_) {
      AppendPiece(own, run, ring.begin, ring.hole_begin);
    }
    const bool all_equal =
        std::all_of(pieces_.begin(), pieces_.end(), [this](const Piece& piece) {
          return piece.nearness == pieces_.front().nearness;
        });
    if (all_equal) {
      rings.push_back(ring);
      return;
    }
    std::stable_sort(
        pieces_.begin(), pieces_.end(),
        [](const Piece& a, const Piece& b) { return a.nearness < b.nearness; });
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const Piece& piece = pieces_[i];
      const bool continues = i > 0 && pieces_[i - 1].end == piece.begin &&
                             pieces_[i - 1].nearness == piece.nearness;
      const auto end = static_cast<uint16_t>(piece.end);
      if (continues) {
        rings.back().end = end;
      } else {
        const auto begin = static_cast<uint16_t>(piece.begin);
        rings.push_back({begin, end, begin, begin});
      }
    }
  }

  const std::vector<CpuLeaf>& leaves_;
  const NodeDistances& distances_;
  const std::vector<Run> runs_;
  std::vector<Piece> pieces_;
};

}  // namespace

uint64_t NodeDistances::Between(int from, int to) const {
  if (from < 0 || to < 0 || values.empty()) return 0;
  return values[from * nodes + to];
}

void FillInStealOrder(const std::vector<CpuLeaf>& leaves,
                      const NodeDistances& distances, Topology& topology) {
  topology.cpu_at.clear();
  topology.place_of.assign(topology.cpus, 0);
  for (const CpuLeaf& leaf : leaves) {
    topology.place_of[leaf.cpu] = static_cast<uint16_t>(topology.cpu_at.size());
    topology.cpu_at.push_back(static_cast<uint16_t>(leaf.cpu));
  }
  topology.rings.clear();
  topology.first_ring.assign(1, 0);
  RingBuilder builder(leaves, distances);
  for (int cpu = 0; cpu < topology.cpus; ++cpu) {
    builder.Append(topology.place_of[cpu], topology.rings);
    topology.first_ring.push_back(static_cast<uint32_t>(topology.rings.size()));
  }
}

}  // namespace retprobe
