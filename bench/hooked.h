// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_HOOKED_H_
#define RETPROBE_BENCH_HOOKED_H_

#include "absl/status/status.h"
#include "retprobe/rethook.h"

// A framework that owns entries, as mcount's: TargetHooked and
// TargetHookedByCall begin with a call of it (hooked_entries.S).

// From now on their returns are hooked, by an empty handler, with instances of
// `storage`; until UnhookReturns.
absl::Status HookReturns(retprobe::Rethook::Storage storage, bool vectors_alone,
                         int maxactive = 0);
void UnhookReturns();

// Null: they are not hooked.
retprobe::Rethook* HookingRethook();

#endif  // RETPROBE_BENCH_HOOKED_H_
