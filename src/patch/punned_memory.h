// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_PUNNED_MEMORY_H_
#define RETPROBE_PATCH_PUNNED_MEMORY_H_

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "patch/near_memory.h"
#include "patch/relocate.h"

namespace retprobe {

// Executable memory at addresses chosen for what they make of the jump that
// leads there: wanted bytes of its distance are 0xcc. A thread that goes on
// inside the jump, where an instruction began before, then meets an int3
// (instruction punning, B. Chamith and others, 2017).
//
// Handed out and never taken back, mapped readable and executable from the
// start, like NearMemory's. Places are packed as well as the wanted bytes
// allow.
//
// Concurrency: the caller keeps calls apart.
class PunnedMemory {
 public:
  // Reserves `size` bytes, at most 512, within `window`. `behind` is the
  // address behind the jump; of its distance the bytes that are 0xff in `traps`
  // become 0xcc. Returns 0 when there is no such place.
  uintptr_t Allocate(const ReachWindow& window, uintptr_t behind,
                     uint32_t traps, size_t size);

 private:
  static constexpr size_t kChunkSize = 64 * 1024;
  static constexpr size_t kGranule = 16;
  struct Chunk {
    uintptr_t begin;
    std::bitset<kChunkSize / kGranule> used;
    // Where to look next for each set of wanted bytes.
    std::array<uint32_t, 16> next = {};
  };
  static uintptr_t Take(Chunk& chunk, const ReachWindow& window,
                        uintptr_t behind, uint32_t traps, size_t size);
  Chunk* Map(const ReachWindow& window, uintptr_t behind, uint32_t traps,
             size_t size);

  std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace retprobe

#endif  // RETPROBE_PATCH_PUNNED_MEMORY_H_
