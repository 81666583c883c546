// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_ZYDIS_H_
#define RETPROBE_AGENT_ZYDIS_H_

namespace retprobe::agent {

// Loads the instruction decoder, of which Debian has no static library, such
// that the program's own copy is neither used nor shadowed. Must have returned
// true before the patch room is used.
bool LoadZydis();

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_ZYDIS_H_
