// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PATCH_DETOUR_SITE_H_
#define RETPROBE_TEST_PATCH_DETOUR_SITE_H_

#include <cstddef>
#include <cstdint>

#include "patch/entry_patch.h"

// What stands in for the trampoline: counts, and goes on to the bypass. The
// stub comes with the site's address in rax.
extern "C" void retprobe_test_count();

namespace retprobe {

// A site that makes its patch a detour nobody but the counter notices.
struct DetourSite {
  void (*target)() = retprobe_test_count;
  uintptr_t bypass = 0;
  uint64_t count = 0;
};
static_assert(offsetof(DetourSite, bypass) == 8);
static_assert(offsetof(DetourSite, count) == 16);

// A detour around `function`, prepared. The site stays for ever, as stubs do.
struct Detour {
  DetourSite* site;
  EntryPatch* patch;
  uint64_t count() const {
    return __atomic_load_n(&site->count, __ATOMIC_RELAXED);
  }
};
absl::StatusOr<Detour> PrepareDetour(const void* function, size_t size = 0);

}  // namespace retprobe

#endif  // RETPROBE_TEST_PATCH_DETOUR_SITE_H_
