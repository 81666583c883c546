// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_NEAR_MEMORY_H_
#define RETPROBE_PATCH_NEAR_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "patch/memory_file.h"
#include "patch/relocate.h"

namespace retprobe {

// Executable memory close to the code it serves, handed out and never taken
// back: a thread may be in it for as long as it likes. Mapped readable and
// executable from the start; the bytes come through a MemoryFile.
//
// Concurrency: the caller keeps calls apart.
class NearMemory {
 public:
  // Reserves `size` bytes, aligned to 16, inside `window` and as near to
  // `address` as the address space allows.
  //
  // Errors: kResourceExhausted when nothing is free in there.
  absl::StatusOr<uintptr_t> Allocate(const ReachWindow& window,
                                     uintptr_t address, size_t size);

  // Fills memory that Allocate() returned and nobody has been told of. Where
  // `memory` cannot write, makes pages that hold nothing else writable for a
  // moment, never executable at the same time.
  //
  // Errors: kPermissionDenied.
  absl::Status Fill(const MemoryFile& memory, uintptr_t begin,
                    const void* bytes, size_t size);

 private:
  struct Block {
    uintptr_t begin;
    size_t used;
  };
  absl::StatusOr<Block*> Map(const ReachWindow& window, uintptr_t address);
  absl::Status FillByRemapping(uintptr_t begin, const void* bytes, size_t size);

  std::vector<Block> blocks_;
};

// A mapping of this process, as /proc/self/maps tells it.
struct Mapping {
  uintptr_t begin;
  uintptr_t end;
  bool writable;
  bool executable;
  bool heap;  // grows upwards
};

// All mappings, ascending. Reads the file with system calls alone, so that no
// allocator's idea of the file's buffer is involved. Empty on failure.
std::vector<Mapping> Mappings();

}  // namespace retprobe

#endif  // RETPROBE_PATCH_NEAR_MEMORY_H_
