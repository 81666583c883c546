// SPDX-License-Identifier: Apache-2.0
#include "patch/patch_plan.h"

#include <sys/syscall.h>

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "arch/arch.h"

namespace retprobe {
namespace {

constexpr size_t kEndbrSize = 4;

// What may have to be looked at of an entry: nops of -fpatchable-function-entry
// included.
constexpr size_t kEntryBytes = 128;

// A signal's return path, which unwinders and debuggers know by its bytes.
constexpr uint8_t kSignalReturn[] = {0x48, 0xc7, 0xc0, 0x0f, 0x00,
                                     0x00, 0x00, 0x0f, 0x05};

bool ShadowStackInForce() {
  constexpr long kShadowStackStatus = 0x5005;  // ARCH_SHSTK_STATUS
  uint64_t features = 0;
  return arch::SystemCall(SYS_arch_prctl, kShadowStackStatus,
                          reinterpret_cast<long>(&features)) == 0 &&
         (features & 1) != 0;
}

// Linux has no indirect branch tracking in user space; kernels with the patches
// for it answered to this call.
bool BranchTrackingInForce() {
  constexpr long kCetStatus = 0x3001;  // ARCH_X86_CET_STATUS
  uint64_t status[3] = {};
  return arch::SystemCall(SYS_arch_prctl, kCetStatus,
                          reinterpret_cast<long>(status)) == 0 &&
         (status[0] & 1) != 0;
}

absl::Status Refuse(absl::string_view reason) {
  return absl::FailedPreconditionError(reason);
}

bool Overlap(const DisplacedCode& code, uintptr_t address, size_t size) {
  return address < code.address + code.patched && code.address < address + size;
}

// Whether an instruction that is moved with `code` begins at `address`.
bool Moves(const DisplacedCode& code, uintptr_t address) {
  uintptr_t begin = code.address;
  for (int i = 0; i < code.count; ++i) {
    if (begin == address) return true;
    begin += code.instructions[i].length;
  }
  return false;
}

}  // namespace

EntryBounds PatchPlanner::BoundsOf(uintptr_t address, size_t size) const {
  EntryBounds bounds;
  bounds.end = size != 0 ? address + size : module_.FunctionAt(address).end;
  bounds.next = module_.NextFunction(address);
  bounds.shadow_stack = ShadowStackInForce();
  return bounds;
}

absl::StatusOr<PatchPlan> PatchPlanner::Plan(uintptr_t function, size_t size) {
  uint8_t code[kEntryBytes];
  const size_t got = read_(function, code, sizeof(code));
  if (got >= sizeof(kSignalReturn) &&
      std::memcmp(code, kSignalReturn, sizeof(kSignalReturn)) == 0) {
    return Refuse("is how signal handlers return");
  }
  const EntryBounds bounds = BoundsOf(function, size);
  Instruction first;
  const bool landing_pad = DecodeInstruction(code, got, function, &first) &&
                           first.kind == Instruction::Kind::kEndbr64;
  absl::Status refused;
  for (const size_t patched : {kJumpSize, kTrapSize}) {
    for (size_t skip = landing_pad ? kEndbrSize : 0;; skip = 0) {
      absl::StatusOr<PatchPlan> plan =
          PlanEntry(function + skip, patched, bounds);
      if (plan.ok()) return plan;
      refused = plan.status();  // of the last resort
      if (skip == 0 || BranchTrackingInForce()) break;
    }
  }
  return refused;
}

absl::StatusOr<PatchPlan> PatchPlanner::PlanEntry(uintptr_t address,
                                                  size_t patched,
                                                  const EntryBounds& bounds) {
  uint8_t code[kEntryBytes];
  const size_t got = read_(address, code, sizeof(code));
  absl::StatusOr<DisplacedCode> displaced =
      DisplaceEntry(address, absl::MakeConstSpan(code, got), bounds, patched);
  if (!displaced.ok()) return displaced.status();
  if (taken_(address, patched)) {
    return Refuse("overlaps another function's patch");
  }
  PatchPlan plan = {.entry = *std::move(displaced), .diversions = {}};
  ReachWindow window;
  CoverOperands(plan.entry, &window);
  if (window.empty()) {
    return Refuse("refers to places too far apart for one stub to reach");
  }
  if (plan.entry.nops) return plan;
  std::vector<Branch> branches =
      module_.FindBranches(address + 1, address + patched, read_);
  // Every round of a loop back to the first instruction would count as a call.
  if (bounds.end > address) {
    for (const Branch& loop :
         module_.FindLoops({address, bounds.end}, address, read_)) {
      branches.push_back(loop);
    }
  }
  for (const Branch& branch : branches) {
    const absl::Status status = Divert(branch, &plan);
    if (!status.ok()) return status;
  }
  return plan;
}

// Sees to it that `branch` finds the instruction it goes to once that has
// moved.
absl::Status PatchPlanner::Divert(const Branch& branch, PatchPlan* plan) {
  const auto refuse = [&](absl::string_view why) {
    return Refuse(absl::StrCat(
        "has a branch from ",
        branch.source < plan->entry.address
            ? absl::StrCat("-0x",
                           absl::Hex(plan->entry.address - branch.source))
            : absl::StrCat("+0x",
                           absl::Hex(branch.source - plan->entry.address)),
        " into the bytes to patch, to +", branch.target - plan->entry.address,
        ", and that ", why));
  };
  if (branch.is_call) return refuse("is a call");
  if (!Moves(plan->entry, branch.target)) {
    return refuse("is inside an instruction");
  }
  if (Moves(plan->entry, branch.source)) return absl::OkStatus();
  for (const size_t patched : {kJumpSize, kTrapSize}) {
    absl::StatusOr<DisplacedCode> diversion =
        PlanDiversion(branch, patched, *plan);
    if (!diversion.ok()) continue;
    plan->diversions.push_back(*std::move(diversion));
    return absl::OkStatus();
  }
  return refuse("cannot be diverted");
}

absl::StatusOr<DisplacedCode> PatchPlanner::PlanDiversion(
    const Branch& branch, size_t patched, const PatchPlan& plan) {
  bool taken = taken_(branch.source, patched) ||
               Overlap(plan.entry, branch.source, patched);
  for (const DisplacedCode& other : plan.diversions) {
    taken = taken || Overlap(other, branch.source, patched);
  }
  if (taken) return Refuse("overlaps another patch");
  uint8_t code[kEntryBytes];
  const size_t got = read_(branch.source, code, sizeof(code));
  absl::StatusOr<DisplacedCode> displaced =
      DisplaceEntry(branch.source, absl::MakeConstSpan(code, got),
                    BoundsOf(branch.source, 0), patched);
  if (displaced.ok() &&
      !module_.FindBranches(branch.source + 1, branch.source + patched, read_)
           .empty()) {
    return Refuse("is branched into");
  }
  return displaced;
}

}  // namespace retprobe
