// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_ARMING_H_
#define RETPROBE_PROBE_ARMING_H_

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "patch/entry_patch.h"

namespace retprobe {

using Refusals = absl::flat_hash_map<const EntryPatch*, absl::Status>;

// Arms, or disarms, all of `patches` that can be: one function whose bytes a
// thread does not leave, or that somebody else has changed, must not keep the
// others from it. Returns those that stay as they were, with the reason.
Refusals SwitchPatches(absl::Span<EntryPatch* const> patches, bool arm);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_ARMING_H_
