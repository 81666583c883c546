// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_PATCH_REGISTRY_H_
#define RETPROBE_PATCH_PATCH_REGISTRY_H_

#include <cstdint>
#include <deque>
#include <mutex>

#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "patch/code_map.h"
#include "patch/entry_patch.h"
#include "patch/memory_file.h"
#include "patch/near_memory.h"
#include "patch/patch_plan.h"
#include "patch/punned_memory.h"
#include "patch/relocate.h"

namespace retprobe {

// All patches of the process: what entry_patch.h's functions work on. Never
// destroyed.
//
// Concurrency: any thread; one operation at a time. A fork waits for the
// operation under way, so that a child never inherits half of one.
class PatchRegistry {
 public:
  explicit PatchRegistry(CodeMap::Source source);

  // The process's registry, whose functions come from the unwind tables.
  static PatchRegistry& Get();

  absl::StatusOr<EntryPatch*> Prepare(uintptr_t function, size_t size,
                                      const void* site);
  void Reserve(size_t more);
  absl::Status Switch(absl::Span<EntryPatch* const> patches, bool arm);

 private:
  template <typename Visit>
  void ForEachNear(uintptr_t address, size_t size, Visit visit) const;
  size_t ReadOriginal(const MemoryFile& memory, uintptr_t address,
                      uint8_t* bytes, size_t size) const;
  bool IsThere(const MemoryFile& memory, const EntryPatch& patch,
               bool armed) const;
  bool Taken(const MemoryFile& memory, uintptr_t function, uintptr_t address,
             size_t size) const;
  EntryPatch* Known(const MemoryFile& memory, uintptr_t function,
                    const void* site);
  absl::StatusOr<PatchPlan> MakePlan(const MemoryFile& memory,
                                     uintptr_t function, size_t size);
  absl::StatusOr<uintptr_t> AllocateStub(const MemoryFile& memory,
                                         const DisplacedCode& displaced,
                                         const ReachWindow& window,
                                         size_t size);
  absl::StatusOr<EntryPatch*> Build(const MemoryFile& memory,
                                    uintptr_t function, const PatchPlan& plan,
                                    const void* site);
  absl::StatusOr<EntryPatch*> Place(const MemoryFile& memory,
                                    uintptr_t function,
                                    const DisplacedCode& displaced,
                                    absl::Span<const uint8_t> stub,
                                    const MovedTo& elsewhere);

  std::mutex mutex_;
  CodeMap code_map_;
  NearMemory near_memory_;
  PunnedMemory punned_memory_;
  // By address, then by age: one whose module came back changed has several.
  struct ByAddress {
    using is_transparent = void;
    static uintptr_t Key(const EntryPatch* patch) { return patch->address; }
    static uintptr_t Key(uintptr_t address) { return address; }
    bool operator()(const auto& a, const auto& b) const {
      return Key(a) < Key(b);
    }
  };
  std::deque<EntryPatch> storage_;
  absl::btree_multiset<EntryPatch*, ByAddress> patches_;
};

}  // namespace retprobe

#endif  // RETPROBE_PATCH_PATCH_REGISTRY_H_
