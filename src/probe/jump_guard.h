// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_JUMP_GUARD_H_
#define RETPROBE_PROBE_JUMP_GUARD_H_

#include <vector>

#include "probe/replacement.h"

namespace retprobe {

// longjmp under all its names: what ends the activations that a jump leaves
// (rethook/jump.cc) before the jump is made. Nothing where jmp_buf is not
// glibc's: there such activations stay out.
std::vector<Replacement> ReplaceJumps();

}  // namespace retprobe

#endif  // RETPROBE_PROBE_JUMP_GUARD_H_
