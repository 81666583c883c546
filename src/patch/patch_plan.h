// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_PATCH_PLAN_H_
#define RETPROBE_PATCH_PATCH_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "patch/branch_targets.h"
#include "patch/relocate.h"

namespace retprobe {

// What is changed to patch one function. See EntryPatch.
struct PatchPlan {
  DisplacedCode entry;
  std::vector<DisplacedCode> diversions;
};

// Decides how functions of one module can be patched. In this order: by a jump
// behind the landing pad, by a jump over it, by an int3 behind it, over it.
class PatchPlanner {
 public:
  // Whether one of `size` bytes at `address` belongs to another patch.
  using Taken = absl::FunctionRef<bool(uintptr_t address, size_t size)>;

  PatchPlanner(BranchTargets* module, CodeReader read, Taken taken)
      : module_(*module), read_(read), taken_(taken) {}

  // Errors: kFailedPrecondition with the reason why it cannot be patched.
  absl::StatusOr<PatchPlan> Plan(uintptr_t function, size_t size);

 private:
  EntryBounds BoundsOf(uintptr_t address, size_t size) const;
  absl::StatusOr<PatchPlan> PlanEntry(uintptr_t address, size_t patched,
                                      const EntryBounds& bounds);
  absl::Status Divert(const Branch& branch, PatchPlan* plan);
  absl::StatusOr<DisplacedCode> PlanDiversion(const Branch& branch,
                                              size_t patched,
                                              const PatchPlan& plan);

  BranchTargets& module_;
  CodeReader read_;
  Taken taken_;
};

}  // namespace retprobe

#endif  // RETPROBE_PATCH_PATCH_PLAN_H_
