// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CONFIG_ACTIVE_H_
#define RETPROBE_CONFIG_ACTIVE_H_

#include "absl/status/status.h"
#include "config/settings.h"

namespace retprobe {

// Takes `sources` in place of the environment and of all that was set. On error
// what was in force stays so. For the agent, whose environment is another's.
absl::Status ReplaceConfigSources(const ConfigSources& sources);

}  // namespace retprobe

#endif  // RETPROBE_CONFIG_ACTIVE_H_
