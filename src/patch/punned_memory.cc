// SPDX-License-Identifier: Apache-2.0
#include "patch/punned_memory.h"

#include <sys/mman.h>

#include <algorithm>

namespace retprobe {
namespace {

constexpr uint32_t kTraps = 0xcccccccc;

// Addresses in which a chunk may lie: null pointers keep faulting.
constexpr uintptr_t kLowest = 1 << 20;
constexpr uintptr_t kHighest = (uintptr_t{1} << 47) - 4096;

// The lowest value from `value` on whose wanted bytes are 0xcc; UINT64_MAX when
// there is none of 32 bits.
uint64_t NextMatching(uint64_t value, uint32_t traps) {
  for (int byte = 3; byte >= 0; --byte) {
    const int shift = 8 * byte;
    if ((traps >> shift & 0xff) == 0) continue;
    const uint64_t now = value >> shift & 0xff;
    if (now == 0xcc) continue;
    const uint64_t above = value >> (shift + 8);
    if (now < 0xcc) {
      value = (above << 8 | 0xcc) << shift;
    } else {
      value = (above + 1) << (shift + 8);
      byte = 4;  // the bytes above have changed: again from the top
    }
    if (value > UINT32_MAX) return UINT64_MAX;
  }
  return value > UINT32_MAX ? UINT64_MAX : value;
}

// Which of the 16 sets of bytes `traps` stands for.
size_t ClassOf(uint32_t traps) {
  return (traps & 1) | (traps >> 7 & 2) | (traps >> 14 & 4) | (traps >> 21 & 8);
}

bool Free(const std::vector<Mapping>& mappings, uintptr_t begin,
          uintptr_t end) {
  const auto after = std::upper_bound(
      mappings.begin(), mappings.end(), begin,
      [](uintptr_t address, const Mapping& m) { return address < m.end; });
  return after == mappings.end() || after->begin >= end;
}

// The upper halves of distances in the order in which to try them: backwards,
// nearest first; then forwards, where heaps grow, from 1 GiB on; then less.
uint32_t UpperHalf(uint32_t rank) {
  if (rank < 0x8000) return 0xffff - rank;
  if (rank < 0xc000) return rank - 0x4000;
  return 0xffff - rank;
}

// The first rank from `rank` on whose upper half has its wanted bytes 0xcc;
// 0x10000 when there is none.
uint32_t NextRank(uint32_t rank, uint32_t traps) {
  const uint32_t wanted = traps >> 16;
  while (rank < 0x10000 && ((UpperHalf(rank) ^ 0xcccc) & wanted) != 0) {
    // Ranks go down or up by one within 256 that share their upper byte.
    rank += (wanted & 0xff00) != 0 && (UpperHalf(rank) >> 8) != 0xcc
                ? 0x100 - rank % 0x100
                : 1;
  }
  return rank;
}

}  // namespace

uintptr_t PunnedMemory::Take(Chunk& chunk, const ReachWindow& window,
                             uintptr_t behind, uint32_t traps, size_t size) {
  const uintptr_t end = chunk.begin + kChunkSize - size;
  uint32_t& next = chunk.next[ClassOf(traps)];
  // With the second byte wanted, each jump has a window of its own.
  const bool packed = (traps & 0xff00) == 0;
  uintptr_t at = chunk.begin + (packed ? next : 0);
  while (at <= end) {
    const uint64_t distance =
        NextMatching(static_cast<uint32_t>(at - behind), traps);
    if (distance == UINT64_MAX) return 0;
    at += static_cast<uint32_t>(distance) - static_cast<uint32_t>(at - behind);
    if (at > end) return 0;
    const size_t first = (at - chunk.begin) / kGranule;
    const size_t last = (at - chunk.begin + size - 1) / kGranule;
    size_t taken = last + 1;
    while (taken > first && !chunk.used[taken - 1]) --taken;
    if (taken > first) {  // go on behind the last granule in the way
      at = chunk.begin + taken * kGranule;
      continue;
    }
    if (at < window.low || at + size - 1 > window.high) return 0;
    for (size_t i = first; i <= last; ++i) chunk.used.set(i);
    if (packed) next = static_cast<uint32_t>((last + 1) * kGranule);
    return at;
  }
  return 0;
}

PunnedMemory::Chunk* PunnedMemory::Map(const ReachWindow& window,
                                       uintptr_t behind, uint32_t traps,
                                       size_t size) {
  std::vector<Mapping> mappings;  // read when there is something to ask
  for (uint32_t rank = NextRank(0, traps); rank < 0x10000;
       rank = NextRank(rank + 1, traps)) {
    // The least distance of this upper half.
    const auto distance =
        static_cast<int32_t>(UpperHalf(rank) << 16 | (kTraps & traps));
    const uintptr_t first = behind + static_cast<uintptr_t>(intptr_t{distance});
    const uintptr_t begin = first / kChunkSize * kChunkSize;
    const uintptr_t end = begin + kChunkSize;
    if (first + size > end || begin < std::max(window.low, kLowest) ||
        end > std::min(window.high, kHighest) ||
        // No chunk straddles the ends of what a jump can reach.
        (behind > end) != (distance < 0) ||
        (behind > begin ? behind - begin : end - behind) > INT32_MAX) {
      continue;
    }
    if (mappings.empty()) mappings = Mappings();
    if (!Free(mappings, begin, end)) continue;
    void* mapped =
        mmap(reinterpret_cast<void*>(begin), kChunkSize, PROT_READ | PROT_EXEC,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (mapped == reinterpret_cast<void*>(begin)) {
      chunks_.push_back(std::make_unique<Chunk>());
      chunks_.back()->begin = begin;
      return chunks_.back().get();
    }
    // Another thread was faster, or a kernel before 4.17 took the address for a
    // hint: no other place will do better.
    if (mapped != MAP_FAILED) munmap(mapped, kChunkSize);
    return nullptr;
  }
  return nullptr;
}

uintptr_t PunnedMemory::Allocate(const ReachWindow& window, uintptr_t behind,
                                 uint32_t traps, size_t size) {
  for (const std::unique_ptr<Chunk>& chunk : chunks_) {
    const uintptr_t begin = chunk->begin;
    if ((begin > behind ? begin + kChunkSize - behind : behind - begin) >
        INT32_MAX) {
      continue;
    }
    if (uintptr_t place = Take(*chunk, window, behind, traps, size)) {
      return place;
    }
  }
  Chunk* const fresh = Map(window, behind, traps, size);
  return fresh == nullptr ? 0 : Take(*fresh, window, behind, traps, size);
}

}  // namespace retprobe
