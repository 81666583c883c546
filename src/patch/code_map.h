// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_CODE_MAP_H_
#define RETPROBE_PATCH_CODE_MAP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "patch/branch_targets.h"
#include "patch/entry_patch.h"

namespace retprobe {

// The code of the loaded modules, each looked at when first asked for and
// remembered until any module is unloaded.
//
// Concurrency: the caller keeps calls apart.
class CodeMap {
 public:
  // The function ranges of the module that contains `address`, ascending.
  using Source = std::vector<CodeRange> (*)(uintptr_t address);
  explicit CodeMap(Source source) : source_(source) {}

  // The module that contains `address`, until the next call. For code that
  // belongs to none, or whose module has no unwind table: its executable
  // mapping, looked at anew every time, since such code may change. Null when
  // the address is not executable.
  BranchTargets* ModuleAt(uintptr_t address);

 private:
  Source source_;
  unsigned long long unloads_ = 0;
  std::vector<std::unique_ptr<BranchTargets>> modules_;
  std::unique_ptr<BranchTargets> unknown_;
};

}  // namespace retprobe

#endif  // RETPROBE_PATCH_CODE_MAP_H_
