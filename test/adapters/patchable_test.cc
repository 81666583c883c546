// SPDX-License-Identifier: Apache-2.0
//
// -fpatchable-function-entry=5: functions begin with NOPs, and their entries
// are listed. Nothing calls us there, so this is for ReturnProbe, which needs
// no NOPs but finds nothing to move among them.
#include <doctest/doctest.h>

#include <vector>

#include "checks.h"
#include "retprobe/return_probe.h"

// By the linker: the section in which compilers list entries, of this module.
extern "C" {
extern void* const __start___patchable_function_entries[];
extern void* const __stop___patchable_function_entries[];
}

namespace retprobe::test {
namespace {

TEST_CASE("all that -fpatchable-function-entry compiles is attached at once") {
  static Ends ends;
  std::vector<ReturnProbe::Request> requests;
  for (void* const* entry = __start___patchable_function_entries;
       entry != __stop___patchable_function_entries; ++entry) {
    ReturnProbeOptions options;
    options.entry_handler = [](EntryContext&) noexcept {
      ends.entries.fetch_add(1, std::memory_order_relaxed);
      return true;
    };
    options.return_handler = [](ReturnContext& context) noexcept {
      ends.Count(context);
    };
    requests.push_back({*entry, std::move(options)});
  }
  CHECK(requests.size() == sizeof(Targets) / sizeof(void*));
  const auto probes = ReturnProbe::AttachAll(absl::MakeSpan(requests));
  for (const auto& probe : probes) {
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  }
  CheckEnds(kPatchableTargets, ends);
  for (const auto& probe : probes) CHECK(probe->nmissed().total() == 0);
}

}  // namespace
}  // namespace retprobe::test
