// SPDX-License-Identifier: Apache-2.0
//
// What the library itself needs to see of the program.
#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "patch/trap.h"
#include "probe/frame_finder.h"
#include "probe/jump_guard.h"
#include "probe/make_probe.h"
#include "probe/registry.h"
#include "probe/trap_guard.h"
#include "probe/vfork_guard.h"

namespace retprobe {

void Registry::Replace(PatchedFunction& function, const void* replacement) {
  // relaxed: before publication.
  function.site.entry.store(replacement, std::memory_order_relaxed);
  ArmEntryPatches({&function.patch, 1}).IgnoreError();
}

void Registry::Replace(const Replacement& replacement) {
  if (absl::StatusOr<PatchedFunction*> function = Prepare(replacement.function);
      function.ok()) {
    Replace(**function, replacement.code);
  }
}

void Registry::Guard() {
  // Where vfork or clone cannot be replaced, their children's calls are probed;
  // where longjmp cannot, what it leaves stays out.
  Replace(ReplaceVfork());
  Replace(ReplaceClone());
  for (const Replacement& jump : ReplaceJumps()) Replace(jump);
  AttachOurOwn(SpawnGuards());
}

void Registry::GuardTraps() {
  InstallTrapHandler().IgnoreError();  // what it cannot, arming cannot
  AttachOurOwn(TrapGuards());
  UnblockTrapInHandlers();
}

void Registry::AttachOurOwn(std::vector<ReturnProbe::Request> requests) {
  HandlerReader reader;
  for (ReturnProbe::Request& request : requests) {
    Item item = {request.function,
                 MakeProbe(std::move(request.options), reader),
                 absl::OkStatus(), /*entry_only=*/false};
    item.probe->internal = true;
    Attach({&item, 1});
  }
}

void Registry::TeachUnwinder(void* finder) {
  if (finder == taught_) return;
  taught_ = finder;  // once: what cannot be patched now never will
  if (finder == nullptr) return;
  // Where it cannot be replaced, libgcc does not see through stubs.
  if (absl::StatusOr<PatchedFunction*> function = Prepare(finder);
      function.ok()) {
    const auto body = reinterpret_cast<const void*>((*function)->patch->body());
    Replace(**function, ReplaceFrameFinder(body));
  }
}

bool Registry::BringTraps(absl::Span<const Item> items) {
  const bool first =
      !traps_guarded_ &&
      std::any_of(items.begin(), items.end(), [](const Item& item) {
        return item.status.ok() && item.probe->uses_trap;
      });
  traps_guarded_ = traps_guarded_ || first;
  return first;
}

}  // namespace retprobe
