// SPDX-License-Identifier: Apache-2.0
#include "patch/detour_site.h"

asm(R"(
  .text
  .p2align 4
  .globl retprobe_test_count
  .hidden retprobe_test_count
  .type retprobe_test_count, @function
retprobe_test_count:
  .cfi_startproc
  lock incq 16(%rax)
  jmp *8(%rax)
  .cfi_endproc
  .size retprobe_test_count, .-retprobe_test_count
)");

namespace retprobe {

absl::StatusOr<Detour> PrepareDetour(const void* function, size_t size) {
  auto* site = new DetourSite;
  absl::StatusOr<EntryPatch*> patch =
      PrepareEntryPatch(reinterpret_cast<uintptr_t>(function), size, site);
  if (!patch.ok()) return patch.status();
  site->bypass = (*patch)->bypass();
  return Detour{site, *patch};
}

}  // namespace retprobe
