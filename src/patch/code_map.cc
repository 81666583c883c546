// SPDX-License-Identifier: Apache-2.0
#include "patch/code_map.h"

#include <link.h>

#include <utility>

#include "patch/near_memory.h"

namespace retprobe {
namespace {

// How many modules the dynamic linker has unloaded so far.
unsigned long long Unloads() {
  unsigned long long unloads = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        *static_cast<unsigned long long*>(data) = info->dlpi_subs;
        return 1;
      },
      &unloads);
  return unloads;
}

}  // namespace

BranchTargets* CodeMap::ModuleAt(uintptr_t address) {
  if (const unsigned long long unloads = Unloads(); unloads != unloads_) {
    modules_.clear();
    unloads_ = unloads;
  }
  for (const auto& module : modules_) {
    if (module->Contains(address)) return module.get();
  }
  const std::vector<CodeRange> ranges = source_(address);
  if (!ranges.empty()) {
    const CodeRange extent = {ranges.front().begin, ranges.back().end};
    auto module = std::make_unique<BranchTargets>(extent, ranges);
    if (module->Contains(address)) {
      modules_.push_back(std::move(module));
      return modules_.back().get();
    }
  }
  for (const Mapping& mapping : Mappings()) {
    if (mapping.executable && address >= mapping.begin &&
        address < mapping.end) {
      unknown_ = std::make_unique<BranchTargets>(
          CodeRange{mapping.begin, mapping.end}, absl::Span<const CodeRange>());
      return unknown_.get();
    }
  }
  return nullptr;
}

}  // namespace retprobe
