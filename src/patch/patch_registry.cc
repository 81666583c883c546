// SPDX-License-Identifier: Apache-2.0
#include "patch/patch_registry.h"

#include <pthread.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "arch/arch.h"
#include "patch/live_patch.h"
#include "patch/stub_map.h"
#include "symbols/symbols.h"

namespace retprobe {
namespace {

// The fixed part of a stub, with the address of the site to be filled in. See
// EntryPatch.
constexpr uint8_t kStub[] = {
    0x48, 0x89, 0x44, 0x24, 0xe8,                 // mov %rax, -24(%rsp)
    0x48, 0xb8, 0,    0,    0,    0, 0, 0, 0, 0,  // movabs $site, %rax
    0xff, 0x20,                                   // jmp *(%rax)
    0x48, 0x8b, 0x44, 0x24, 0xe8,                 // bypass: mov -24(%rsp), %rax
};
constexpr size_t kStubSite = 7;
constexpr size_t kStubBypass = 17;

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

std::vector<CodeRange> RangesFromUnwindTable(uintptr_t address) {
  std::vector<CodeRange> ranges;
  for (const FunctionBounds& bounds : UnwindTableRanges(address)) {
    ranges.push_back({bounds.begin, bounds.end});
  }
  return ranges;
}

EntryBounds BoundsOf(uintptr_t function, size_t size,
                     const BranchTargets& module) {
  EntryBounds bounds;
  bounds.end = size != 0 ? function + size : module.FunctionAt(function).end;
  bounds.next = module.NextFunction(function);
  bounds.shadow_stack = ShadowStackInForce();
  return bounds;
}

std::string Offset(uintptr_t address, uintptr_t function,
                   const EntryBounds& bounds) {
  if (address >= function && (bounds.end == 0 || address < bounds.end)) {
    return absl::StrCat("+0x", absl::Hex(address - function));
  }
  return absl::StrCat("0x", absl::Hex(address), " outside it");
}

// Notes where in a stub of `size` bytes what happens to the stack.
void DescribeStub(const DisplacedCode& displaced, size_t size,
                  EntryPatch* patch) {
  patch->stub_size = static_cast<uint8_t>(size);
  patch->resume =
      static_cast<uint8_t>(displaced.ends ? size : size - kJumpSize);
  if (displaced.nops) return;
  size_t offset = 0;
  for (int i = 0; i < displaced.count; ++i) {
    const Instruction& instruction = displaced.instructions[i];
    if (instruction.kind == Instruction::Kind::kCall ||
        instruction.kind == Instruction::Kind::kIndirectCall) {
      patch->call = static_cast<uint8_t>(offset);
    }
    offset += instruction.length;
  }
}

std::mutex* fork_mutex = nullptr;  // set once

}  // namespace

PatchRegistry::PatchRegistry(CodeMap::Source source) : code_map_(source) {}

PatchRegistry& PatchRegistry::Get() {
  static PatchRegistry* const registry = [] {
    auto* fresh = new PatchRegistry(RangesFromUnwindTable);
    fork_mutex = &fresh->mutex_;
    pthread_atfork([] { fork_mutex->lock(); }, [] { fork_mutex->unlock(); },
                   [] { fork_mutex->unlock(); });
    return fresh;
  }();
  return *registry;
}

size_t PatchRegistry::ReadOriginal(const MemoryFile& memory, uintptr_t address,
                                   uint8_t* bytes, size_t size) const {
  const size_t got = memory.Read(address, bytes, size);
  // A jump lies at its function's begin, or behind a landing pad there.
  constexpr uintptr_t kBefore = kEndbrSize + kJumpSize - 1;
  auto it = patches_.lower_bound(address < kBefore ? 0 : address - kBefore);
  for (; it != patches_.end() && (*it)->function < address + got; ++it) {
    const EntryPatch& patch = **it;
    if (!patch.armed) continue;
    for (size_t i = 0; i < kJumpSize; ++i) {
      const uintptr_t offset = patch.address + i - address;
      if (offset < got) bytes[offset] = patch.original[i];
    }
  }
  return got;
}

EntryPatch* PatchRegistry::Known(const MemoryFile& memory, uintptr_t function,
                                 const void* site) {
  auto [first, last] = patches_.equal_range(function);
  for (; first != last; ++first) {
    EntryPatch* patch = *first;
    uint8_t now[sizeof(patch->original)];
    const size_t size = std::min<size_t>(patch->displaced, sizeof(now));
    if (memory.Read(patch->address, now, size) != size) continue;
    if (std::memcmp(now, patch->original, size) == 0) {
      patch->armed = false;  // also when the module went and came back
    } else if (patch->armed) {
      uint8_t jump[kJumpSize];
      EncodeJump(*patch, jump);
      if (std::memcmp(now, jump, kJumpSize) != 0 ||
          std::memcmp(now + kJumpSize, patch->original + kJumpSize,
                      size - kJumpSize) != 0) {
        patch->armed = false;  // another module's code by now
        continue;
      }
    } else {
      continue;
    }
    uint64_t held;
    std::memcpy(&held, reinterpret_cast<const void*>(patch->stub + kStubSite),
                8);
    if (held == reinterpret_cast<uintptr_t>(site) || patch->armed) return patch;
  }
  return nullptr;
}

absl::StatusOr<EntryPatch*> PatchRegistry::Prepare(uintptr_t function,
                                                   size_t size,
                                                   const void* site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  absl::StatusOr<MemoryFile> memory = MemoryFile::Open();
  if (!memory.ok()) return memory.status();
  if (EntryPatch* known = Known(*memory, function, site)) {
    uint64_t held;
    std::memcpy(&held, reinterpret_cast<const void*>(known->stub + kStubSite),
                8);
    if (held == reinterpret_cast<uintptr_t>(site)) return known;
    return absl::FailedPreconditionError("is patched for another site");
  }
  absl::StatusOr<Plan> plan = MakePlan(*memory, function, size);
  if (!plan.ok()) return plan.status();
  return Build(*memory, function, *plan, site);
}

absl::StatusOr<PatchRegistry::Plan> PatchRegistry::MakePlan(
    const MemoryFile& memory, uintptr_t function, size_t size) {
  BranchTargets* module = code_map_.ModuleAt(function);
  if (module == nullptr) {
    return absl::FailedPreconditionError("is not in executable memory");
  }
  uint8_t code[kEntryBytes];
  const size_t got = ReadOriginal(memory, function, code, sizeof(code));
  if (got >= sizeof(kSignalReturn) &&
      std::memcmp(code, kSignalReturn, sizeof(kSignalReturn)) == 0) {
    return absl::FailedPreconditionError("is how signal handlers return");
  }
  const EntryBounds bounds = BoundsOf(function, size, *module);
  Instruction first;
  const bool landing_pad = DecodeInstruction(code, got, function, &first) &&
                           first.kind == Instruction::Kind::kEndbr64;
  // The jump goes behind a landing pad, or over it if it cannot.
  absl::Status refused;
  for (size_t skip = landing_pad ? kEndbrSize : 0;; skip = 0) {
    absl::StatusOr<DisplacedCode> displaced = DisplaceEntry(
        function + skip, absl::MakeConstSpan(code + skip, got - skip), bounds);
    absl::Status status = displaced.status();
    if (status.ok()) {
      status = CheckBranches(memory, function, bounds, *displaced, module);
    }
    Plan plan;
    if (status.ok()) {
      plan.displaced = *displaced;
      CoverOperands(*displaced, &plan.window);
      if (!plan.window.empty()) return plan;
      status = absl::FailedPreconditionError(
          "refers to places too far apart for one stub to reach");
    }
    refused.Update(status);
    if (skip == 0 || BranchTrackingInForce()) return refused;
  }
}

absl::Status PatchRegistry::CheckBranches(const MemoryFile& memory,
                                          uintptr_t function,
                                          const EntryBounds& bounds,
                                          const DisplacedCode& displaced,
                                          BranchTargets* module) {
  if (displaced.nops) return absl::OkStatus();
  const auto read = [&](uintptr_t address, uint8_t* bytes, size_t size) {
    return ReadOriginal(memory, address, bytes, size);
  };
  const uintptr_t begin = displaced.address;
  Branch branch;
  if (module->FindBranch(begin + 1, begin + kJumpSize, read, &branch)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "has a branch from ", Offset(branch.source, function, bounds),
        " into the bytes to patch, to +", branch.target - function));
  }
  if (bounds.end > begin &&
      module->FindLoop({begin, bounds.end}, begin, read, &branch)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "has a branch from ", Offset(branch.source, function, bounds),
        " back to its first instruction: every round would count as a call"));
  }
  return absl::OkStatus();
}

// Best where the jump makes threads trap that go on inside it; such places are
// packed too closely to be filled in another way than through `memory`.
absl::StatusOr<uintptr_t> PatchRegistry::AllocateStub(
    const MemoryFile& memory, const DisplacedCode& displaced,
    const ReachWindow& window, size_t size) {
  const uint32_t traps = InteriorBytes(displaced);
  if (traps != 0 && !live_patch_faults.no_punning) {
    const uintptr_t place = punned_memory_.Allocate(
        window, displaced.address + kJumpSize, traps, size);
    constexpr uint8_t kBreakpoint = 0xcc;
    if (place != 0 && memory.Write(place, &kBreakpoint, 1).ok()) return place;
  }
  return near_memory_.Allocate(window, displaced.address, size);
}

absl::StatusOr<EntryPatch*> PatchRegistry::Build(const MemoryFile& memory,
                                                 uintptr_t function,
                                                 const Plan& plan,
                                                 const void* site) {
  const DisplacedCode& displaced = plan.displaced;
  const size_t size = sizeof(kStub) + MovedSize(displaced);
  absl::StatusOr<uintptr_t> stub =
      AllocateStub(memory, displaced, plan.window, size);
  if (!stub.ok()) return stub.status();
  absl::StatusOr<MovedCode> moved = MoveCode(displaced, *stub + sizeof(kStub));
  if (!moved.ok()) return moved.status();
  uint8_t bytes[sizeof(kStub) + sizeof(moved->bytes)];
  std::memcpy(bytes, kStub, sizeof(kStub));
  std::memcpy(bytes + kStubSite, &site, sizeof(site));
  std::memcpy(bytes + sizeof(kStub), moved->bytes, moved->size);
  absl::Status status = near_memory_.Fill(memory, *stub, bytes, size);
  if (!status.ok()) return status;

  EntryPatch* const patch = &storage_.emplace_back();
  patch->function = function;
  patch->address = displaced.address;
  patch->stub = *stub;
  patch->bypass = *stub + kStubBypass;
  patch->body = displaced.nops ? displaced.after : *stub + sizeof(kStub);
  patch->displaced = displaced.size;
  std::memcpy(patch->original, displaced.bytes,
              std::min<size_t>(displaced.size, sizeof(patch->original)));
  for (size_t i = 0; i < kJumpSize; ++i) {
    if (moved->copies[i] == kNoCopy) continue;
    patch->moved[i] = static_cast<uint8_t>(sizeof(kStub) + moved->copies[i]);
  }
  DescribeStub(displaced, size, patch);
  Stubs().Insert(patch);
  patches_.insert(patch);
  return patch;
}

absl::Status PatchRegistry::Switch(absl::Span<EntryPatch* const> patches,
                                   bool arm) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return SwitchEntries(patches, arm);
}

absl::StatusOr<EntryPatch*> PrepareEntryPatch(uintptr_t function, size_t size,
                                              const void* site) {
  return PatchRegistry::Get().Prepare(function, size, site);
}

absl::Status ArmEntryPatches(absl::Span<EntryPatch* const> patches) {
  return PatchRegistry::Get().Switch(patches, true);
}

absl::Status DisarmEntryPatches(absl::Span<EntryPatch* const> patches) {
  return PatchRegistry::Get().Switch(patches, false);
}

}  // namespace retprobe
