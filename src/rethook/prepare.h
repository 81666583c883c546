// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_PREPARE_H_
#define RETPROBE_RETHOOK_PREPARE_H_

#include "absl/status/status.h"

namespace retprobe {

// Makes the trampoline ready for this machine and process, before the first
// stub can be entered. Later calls give the first one's answer.
//
// Errors: what RegisterMembarrier reports: without a membarrier no probe could
//   ever be taken off safely.
absl::Status PrepareTrampoline();

// Reserves the code slots of Rethooks (slots.h). Later calls give the first
// one's answer.
//
// They are an ELF module of their own, written into memory and given to the
// dynamic linker, because that is where every unwinder, debugger and profiler
// looks for unwind tables; __register_frame is different, or nothing, in each.
// It stays loaded: threads may return to a slot at any time.
//
// Errors: kResourceExhausted, kUnavailable, as Rethook::Create.
absl::Status PrepareSlots();

// Puts our code in front of those functions of libc behind which calls and
// returns do not pair up: longjmp, and vfork, clone and posix_spawn, whose
// children run in this memory. Before the first Rethook and the first probe.
// What cannot be replaced stays as it is. Defined in the room `probe`, which
// can change code.
void GuardProcess();

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_PREPARE_H_
