// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PATCH_EQUIVALENCE_H_
#define RETPROBE_TEST_PATCH_EQUIVALENCE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "patch/entry_patch.h"
#include "patch/relocate.h"

namespace retprobe {

// Code before and after it was moved, each as bytes and as the address that
// they are meant for.
struct MovedPair {
  const uint8_t* original;
  uintptr_t address;
  size_t patched;    // bytes at `address` that will change
  size_t displaced;  // bytes that the moved code stands for, padding included
  const uint8_t* moved;
  size_t moved_size;
  uintptr_t destination;
  const uint8_t* copies;     // MovedCode::copies
  const MovedTo* elsewhere;  // what else has moved
};

// Decodes both, without what moved them, and compares what they do: the same
// instructions with the same operands, in order; rip-relative operands at the
// same address; branches to the same place, or to the copy of what was there; a
// call as the push of the original return address and a jump; control behind
// the last of them where it would have been.
//
// Returns "", or what differs.
std::string Difference(const MovedPair& pair);

// The same of a patch that is prepared but not armed, and of its diversions.
std::string DifferenceOf(const EntryPatch& patch);

}  // namespace retprobe

#endif  // RETPROBE_TEST_PATCH_EQUIVALENCE_H_
