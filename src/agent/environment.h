// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_ENVIRONMENT_H_
#define RETPROBE_AGENT_ENVIRONMENT_H_

namespace retprobe::agent {

// The value of `name` in `envp`, or null.
const char* FindVariable(char** envp, const char* name);

// Makes `envp` what it was before the command added to it: takes out the
// session variable and the first entry of LD_PRELOAD. In place, because `envp`,
// `environ` and what main is given are one array. `preload_was_set`: LD_PRELOAD
// stays, if need be empty, as the user had it.
void RestoreEnvironment(char** envp, bool preload_was_set);

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_ENVIRONMENT_H_
