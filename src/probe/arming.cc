// SPDX-License-Identifier: Apache-2.0
//
// Patching the functions of a batch, as many as can be.
#include "probe/arming.h"

#include <vector>

#include "patch/thread_mover.h"
#include "probe/registry.h"

namespace retprobe {
namespace {

// How often a batch may wait for a thread that it has waited for in vain.
constexpr int kMostWaits = 64;

absl::Status Switch(absl::Span<EntryPatch* const> patches, bool arm) {
  return arm ? ArmEntryPatches(patches) : DisarmEntryPatches(patches);
}

// Looks for those that can be switched by halves. Waits `attempts` times at
// most, then refuses what is left.
void SwitchInParts(absl::Span<EntryPatch* const> patches, bool arm,
                   int* attempts, Refusals* refusals) {
  const size_t half = patches.size() / 2;
  for (const auto part : {patches.subspan(0, half), patches.subspan(half)}) {
    const absl::Status status = Switch(part, arm);
    if (status.ok()) continue;
    if (absl::IsUnavailable(status)) --*attempts;
    if (part.size() > 1 && *attempts > 0) {
      SwitchInParts(part, arm, attempts, refusals);
      continue;
    }
    for (const EntryPatch* patch : part) (*refusals)[patch] = status;
  }
}

}  // namespace

Refusals SwitchPatches(absl::Span<EntryPatch* const> patches, bool arm) {
  Refusals refusals;
  if (patches.empty()) return refusals;
  const absl::Status status = Switch(patches, arm);
  if (status.ok()) return refusals;
  if (patches.size() == 1) {
    refusals[patches[0]] = status;
    return refusals;
  }
  const BriefPatience brief;
  int attempts = kMostWaits;
  SwitchInParts(patches, arm, &attempts, &refusals);
  return refusals;
}

void Registry::Arm(absl::Span<Item> items) {
  std::vector<EntryPatch*> patches;
  for (const Item& item : items) {
    if (!item.status.ok() || item.probe->function->patch->armed) continue;
    patches.push_back(item.probe->function->patch);
  }
  const Refusals refusals = SwitchPatches(patches, /*arm=*/true);
  if (refusals.empty()) return;
  std::vector<ReturnProbe::Probe*> refused;
  for (Item& item : items) {
    if (!item.status.ok()) continue;
    const auto refusal = refusals.find(item.probe->function->patch);
    if (refusal == refusals.end()) continue;
    item.status = refusal->second;
    refused.push_back(item.probe);
  }
  Remove(refused);
}

}  // namespace retprobe
