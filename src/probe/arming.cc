// SPDX-License-Identifier: Apache-2.0
//
// Patching the functions of a batch, as many as can be.
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "patch/entry_patch.h"
#include "patch/thread_mover.h"
#include "probe/registry.h"

namespace retprobe {
namespace {

// How often a batch may wait for a thread that it has waited for in vain.
constexpr int kMostWaits = 64;

using Refusals = absl::flat_hash_map<const EntryPatch*, absl::Status>;

// Arms what can be armed of `patches`, of which not all can: one function whose
// bytes a thread does not leave must not keep the others from being probed.
// Waits `attempts` times at most, then refuses what is left.
void ArmInParts(absl::Span<EntryPatch* const> patches, int* attempts,
                Refusals* refusals) {
  const size_t half = patches.size() / 2;
  for (const auto part : {patches.subspan(0, half), patches.subspan(half)}) {
    const absl::Status status = ArmEntryPatches(part);
    if (status.ok()) continue;
    if (absl::IsUnavailable(status)) --*attempts;
    if (part.size() > 1 && *attempts > 0) {
      ArmInParts(part, attempts, refusals);
      continue;
    }
    for (const EntryPatch* patch : part) (*refusals)[patch] = status;
  }
}

}  // namespace

void Registry::Arm(absl::Span<Item> items) {
  std::vector<EntryPatch*> patches;
  for (const Item& item : items) {
    if (!item.status.ok() || item.probe->function->patch->armed) continue;
    patches.push_back(item.probe->function->patch);
  }
  if (patches.empty()) return;
  const absl::Status status = ArmEntryPatches(patches);
  if (status.ok()) return;
  Refusals refusals;
  if (patches.size() == 1) {
    refusals[patches[0]] = status;
  } else {
    const BriefPatience brief;
    int attempts = kMostWaits;
    ArmInParts(patches, &attempts, &refusals);
  }
  for (Item& item : items) {
    if (!item.status.ok()) continue;
    const auto refused = refusals.find(item.probe->function->patch);
    if (refused == refusals.end()) continue;
    item.status = refused->second;
    Remove(item.probe);
  }
}

}  // namespace retprobe
