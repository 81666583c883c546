// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_LIVE_PATCH_H_
#define RETPROBE_PATCH_LIVE_PATCH_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "patch/entry_patch.h"

namespace retprobe {

// Writes the jumps of `patches` (`arm`) or what was there before, all or none.
// See ArmEntryPatches().
//
// Requires: one caller at a time.
absl::Status SwitchEntries(absl::Span<EntryPatch* const> patches, bool arm);

// The `patched` bytes that lead from `patch` to its stub.
void EncodePatch(const EntryPatch& patch, uint8_t* bytes);

// For tests of the tests: leaves out a step of the protocol, which must then be
// seen to fail.
struct LivePatchFaults {
  bool no_breakpoint = false;  // writes the jump over the running code
  bool no_moving = false;      // leaves interrupted threads where they are
  bool no_punning = false;     // makes stubs whose jumps have no int3 inside
};
extern LivePatchFaults live_patch_faults;

}  // namespace retprobe

#endif  // RETPROBE_PATCH_LIVE_PATCH_H_
