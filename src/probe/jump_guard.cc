// SPDX-License-Identifier: Apache-2.0
#include "probe/jump_guard.h"

#include <dlfcn.h>
#include <setjmp.h>

#include <algorithm>
#include <cstdint>

#include "arch/arch.h"

extern "C" void retprobe_longjmp();

namespace retprobe {
namespace {

// Whether a jmp_buf holds what we take it for. Not inlined, so that the
// caller's stack pointer is between two known addresses.
__attribute__((noinline)) bool JumpBuffersAreKnown() {
  jmp_buf buffer;
  _setjmp(buffer);
  const arch::JumpTarget target = arch::ReadJumpBuffer(&buffer);
  const auto frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  return target.rsp <= reinterpret_cast<uintptr_t>(&buffer) &&
         frame - target.rsp < 4096;
}

}  // namespace

std::vector<Replacement> ReplaceJumps() {
  std::vector<Replacement> jumps;
  if (!JumpBuffersAreKnown()) return jumps;
  for (const char* name :
       {"longjmp", "_longjmp", "siglongjmp", "__longjmp_chk"}) {
    void* function = dlsym(RTLD_DEFAULT, name);
    const bool known = std::any_of(
        jumps.begin(), jumps.end(),
        [&](const Replacement& jump) { return jump.function == function; });
    if (function == nullptr || known) continue;
    jumps.push_back(
        {function, reinterpret_cast<const void*>(&retprobe_longjmp)});
  }
  return jumps;
}

}  // namespace retprobe
