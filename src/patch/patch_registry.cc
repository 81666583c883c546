// SPDX-License-Identifier: Apache-2.0
#include "patch/patch_registry.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "patch/live_patch.h"
#include "patch/stub_map.h"
#include "patch/trap.h"
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
static_assert(sizeof(kStub) == EntryPatch::kBody);
static_assert(sizeof(EntryPatch) == 64);  // there may be many

constexpr size_t kEndbrSize = 4;

std::vector<CodeRange> RangesFromUnwindTable(uintptr_t address) {
  std::vector<CodeRange> ranges;
  for (const FunctionBounds& bounds : UnwindTableRanges(address)) {
    ranges.push_back({bounds.begin, bounds.end});
  }
  return ranges;
}

const void* SiteOf(const EntryPatch& patch) {
  const void* site;
  std::memcpy(&site, reinterpret_cast<const void*>(patch.stub + kStubSite),
              sizeof(site));
  return site;
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

// Those that may overlap the `size` bytes at `address`, whether armed or not.
template <typename Visit>
void PatchRegistry::ForEachNear(uintptr_t address, size_t size,
                                Visit visit) const {
  auto it =
      patches_.lower_bound(address < kJumpSize ? 0 : address - kJumpSize + 1);
  for (; it != patches_.end() && (*it)->address < address + size; ++it) {
    visit(**it);
  }
}

size_t PatchRegistry::ReadOriginal(const MemoryFile& memory, uintptr_t address,
                                   uint8_t* bytes, size_t size) const {
  const size_t got = memory.Read(address, bytes, size);
  ForEachNear(address, got, [&](const EntryPatch& patch) {
    for (size_t i = 0; patch.armed && i < patch.patched; ++i) {
      const uintptr_t offset = patch.address + i - address;
      if (offset < got) bytes[offset] = patch.original[i];
    }
  });
  return got;
}

// Whether the code at `patch` is still what it was made for.
bool PatchRegistry::IsThere(const MemoryFile& memory, const EntryPatch& patch,
                            bool armed) const {
  uint8_t now[sizeof(patch.original)];
  uint8_t wanted[sizeof(patch.original)];
  const size_t size = std::min<size_t>(patch.displaced, sizeof(now));
  if (memory.Read(patch.address, now, size) != size) return false;
  std::memcpy(wanted, patch.original, size);
  if (armed) EncodePatch(patch, wanted);
  return std::memcmp(now, wanted, size) == 0;
}

bool PatchRegistry::Taken(const MemoryFile& memory, uintptr_t function,
                          uintptr_t address, size_t size) const {
  bool taken = false;
  ForEachNear(address, size, [&](const EntryPatch& patch) {
    taken = taken || (patch.function != function &&
                      patch.address + patch.patched > address &&
                      IsThere(memory, patch, patch.armed));
  });
  return taken;
}

EntryPatch* PatchRegistry::Known(const MemoryFile& memory, uintptr_t function,
                                 const void* site) {
  EntryPatch* known = nullptr;
  ForEachNear(function, kEndbrSize + 1, [&](EntryPatch& patch) {
    if (known != nullptr || patch.function != function || patch.diverts) {
      return;
    }
    if (IsThere(memory, patch, /*armed=*/false)) {
      // Also when the module went and came back.
      for (EntryPatch* p = &patch; p != nullptr; p = p->diversion) {
        p->armed = false;
      }
    } else if (!patch.armed || !IsThere(memory, patch, /*armed=*/true)) {
      patch.armed = false;  // another module's code by now
      return;
    }
    if (patch.armed || SiteOf(patch) == site) known = &patch;
  });
  return known;
}

absl::StatusOr<EntryPatch*> PatchRegistry::Prepare(uintptr_t function,
                                                   size_t size,
                                                   const void* site) {
  const std::lock_guard<std::mutex> lock(mutex_);
  absl::StatusOr<MemoryFile> memory = MemoryFile::Open();
  if (!memory.ok()) return memory.status();
  if (EntryPatch* known = Known(*memory, function, site)) {
    if (SiteOf(*known) == site) return known;
    return absl::FailedPreconditionError("is patched for another site");
  }
  absl::StatusOr<PatchPlan> plan = MakePlan(*memory, function, size);
  if (!plan.ok()) return plan.status();
  return Build(*memory, function, *plan, site);
}

absl::StatusOr<PatchPlan> PatchRegistry::MakePlan(const MemoryFile& memory,
                                                  uintptr_t function,
                                                  size_t size) {
  BranchTargets* module = code_map_.ModuleAt(function);
  if (module == nullptr) {
    return absl::FailedPreconditionError("is not in executable memory");
  }
  const auto read = [&](uintptr_t address, uint8_t* bytes, size_t wanted) {
    return ReadOriginal(memory, address, bytes, wanted);
  };
  const auto taken = [&](uintptr_t address, size_t wanted) {
    return Taken(memory, function, address, wanted);
  };
  return PatchPlanner(module, read, taken).Plan(function, size);
}

// Best where the jump makes threads trap that go on inside it; such places are
// packed too closely to be filled in another way than through `memory`.
absl::StatusOr<uintptr_t> PatchRegistry::AllocateStub(
    const MemoryFile& memory, const DisplacedCode& displaced,
    const ReachWindow& window, size_t size) {
  const uint32_t traps = InteriorBytes(displaced);
  if (displaced.patched == kJumpSize && traps != 0 &&
      !live_patch_faults.no_punning) {
    const uintptr_t place = punned_memory_.Allocate(
        window, displaced.address + kJumpSize, traps, size);
    constexpr uint8_t kBreakpoint = 0xcc;
    if (place != 0 && memory.Write(place, &kBreakpoint, 1).ok()) return place;
  }
  return near_memory_.Allocate(window, displaced.address, size);
}

absl::StatusOr<EntryPatch*> PatchRegistry::Build(const MemoryFile& memory,
                                                 uintptr_t function,
                                                 const PatchPlan& plan,
                                                 const void* site) {
  uint8_t stub[sizeof(kStub)];
  std::memcpy(stub, kStub, sizeof(kStub));
  std::memcpy(stub + kStubSite, &site, sizeof(site));
  absl::StatusOr<EntryPatch*> patch =
      Place(memory, function, plan.entry, stub, {});
  if (!patch.ok()) return patch;
  if (plan.entry.nops) {
    (*patch)->nops =
        static_cast<uint8_t>(plan.entry.after - plan.entry.address);
  }
  MovedTo moved = {.address = plan.entry.address};
  for (size_t i = 0; i < kJumpSize; ++i) {
    if ((*patch)->moved[i] != 0) {
      moved.copies[i] = (*patch)->stub + (*patch)->moved[i];
    }
  }
  EntryPatch* last = *patch;
  for (const DisplacedCode& displaced : plan.diversions) {
    absl::StatusOr<EntryPatch*> diversion =
        Place(memory, function, displaced, {}, moved);
    if (!diversion.ok()) return diversion.status();
    (*diversion)->diverts = true;
    last = last->diversion = *diversion;
  }
  // Known from here on.
  for (EntryPatch* p = *patch; p != nullptr; p = p->diversion) {
    patches_.insert(p);
  }
  return patch;
}

// Fills memory with `stub` and the moved code behind it.
absl::StatusOr<EntryPatch*> PatchRegistry::Place(const MemoryFile& memory,
                                                 uintptr_t function,
                                                 const DisplacedCode& displaced,
                                                 absl::Span<const uint8_t> stub,
                                                 const MovedTo& elsewhere) {
  ReachWindow window;
  CoverOperands(displaced, &window);
  if (elsewhere.copies[0] != 0) window.Cover(elsewhere.copies[0]);
  const size_t size = stub.size() + MovedSize(displaced);
  absl::StatusOr<uintptr_t> begin =
      AllocateStub(memory, displaced, window, size);
  if (!begin.ok()) return begin.status();
  absl::StatusOr<MovedCode> moved =
      MoveCode(displaced, *begin + stub.size(), elsewhere);
  if (!moved.ok()) return moved.status();
  uint8_t bytes[sizeof(kStub) + sizeof(moved->bytes)];
  std::copy(stub.begin(), stub.end(), bytes);
  std::memcpy(bytes + stub.size(), moved->bytes, moved->size);
  absl::Status status =
      near_memory_.Fill(memory, *begin, bytes, stub.size() + moved->size);
  if (!status.ok()) return status;

  EntryPatch* const patch = &storage_.emplace_back();
  patch->function = function;
  patch->address = displaced.address;
  patch->stub = *begin;
  patch->patched = displaced.patched;
  patch->displaced = displaced.size;
  std::memcpy(patch->original, displaced.bytes,
              std::min<size_t>(displaced.size, sizeof(patch->original)));
  for (size_t i = 0; i < kJumpSize; ++i) {
    if (moved->copies[i] == kNoCopy) continue;
    patch->moved[i] = static_cast<uint8_t>(stub.size() + moved->copies[i]);
  }
  DescribeStub(displaced, size, patch);
  Stubs().Insert(patch);
  return patch;
}

void PatchRegistry::Reserve(size_t more) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Stubs().Reserve(more);
  ArmedPatches().Reserve(more);
}

absl::Status PatchRegistry::Switch(absl::Span<EntryPatch* const> patches,
                                   bool arm) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<EntryPatch*> all;
  for (EntryPatch* patch : patches) {
    for (; patch != nullptr; patch = patch->diversion) all.push_back(patch);
  }
  return SwitchEntries(all, arm);
}

void ReserveEntryPatches(size_t more) { PatchRegistry::Get().Reserve(more); }

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
