// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_PERSONALITY_H_
#define RETPROBE_RETHOOK_PERSONALITY_H_

#include <unwind.h>

#include <cstdint>

// What unwinders call for our frames: of the trampoline, of code slots.
extern "C" {
_Unwind_Reason_Code retprobe_personality(int version, _Unwind_Action actions,
                                         uint64_t, _Unwind_Exception* exception,
                                         _Unwind_Context* context);
_Unwind_Reason_Code retprobe_hooked_personality(int version,
                                                _Unwind_Action actions,
                                                uint64_t,
                                                _Unwind_Exception* exception,
                                                _Unwind_Context* context);
}

#endif  // RETPROBE_RETHOOK_PERSONALITY_H_
