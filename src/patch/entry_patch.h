// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_ENTRY_PATCH_H_
#define RETPROBE_PATCH_ENTRY_PATCH_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace retprobe {

// Where the bytes of a function end, and who else may jump into them.
struct CodeRange {
  uintptr_t begin;
  uintptr_t end;
};

// One function whose entry can be switched between itself and a stub.
//
// The stub, within reach of a 5-byte jump:
//
//   stub:    mov  %rax, -24(%rsp)      ; nobody owns the 128 bytes below rsp
//            movabs $site, %rax        ; at a function's entry
//            jmp  *(%rax)              ; the word at `site`: the trampoline,
//   bypass:  mov  -24(%rsp), %rax      ; or `bypass` while disabled
//   body:    the displaced instructions, moved
//            jmp  behind them
//
// A stub is never unmapped; it is used again for the same function only.
//
// Where a jump of 5 bytes has no room, an int3 stands instead for as long as
// the entry is armed, and the SIGTRAP handler leads to the stub: a probe, but
// one that costs a signal for every call.
//
// Where code branches to the first instructions from elsewhere (a loop, a
// function that shares another's tail), those branches are patched too, and
// lead to the copies of the instructions: diversions. They come and go with the
// entry.
struct EntryPatch {
  uintptr_t function = 0;
  uintptr_t address =
      0;  // where the patch goes: `function`, or behind its endbr64
  uintptr_t stub = 0;
  EntryPatch* diversion = nullptr;  // the first, or the next
  uint8_t original[16] = {};        // at `address`, before
  uint8_t patched = 0;              // bytes that change: 5, a jump; 1, an int3
  uint8_t displaced = 0;  // bytes of whole instructions that those cover
  // A diversion: its stub is moved code alone.
  bool diverts = false;
  // Bytes of nops, if that is all there is to displace: the body is behind
  // them.
  uint8_t nops = 0;
  bool armed = false;     // the jump, or int3, is in place
  bool changing = false;  // being armed: read by signal handlers, atomically

  // Places in the stub, from its begin.
  static constexpr uint8_t kBypass = 17;
  static constexpr uint8_t kBody = 22;

  // 0 of a diversion, both.
  uintptr_t bypass() const { return diverts ? 0 : stub + kBypass; }
  uintptr_t body() const {
    return diverts ? 0 : nops != 0 ? address + nops : stub + kBody;
  }

  // Whether calls, or branches back to the first instruction, are signals.
  bool traps() const {
    return patched == 1 || (diversion != nullptr && diversion->traps());
  }

  // Where each instruction that begins inside the jump's bytes was moved, as an
  // offset from `stub`, by its offset from `address`; 0: none begins there.
  uint8_t moved[5] = {};

  // What OriginalPlace() (stub_map.h) goes by: the stub's bytes; where in it
  // the jump back is, or its end; and which of the displaced bytes a call
  // begins at.
  static constexpr uint8_t kNoCall = 0xff;
  uint8_t stub_size = 0;
  uint8_t resume = 0;
  uint8_t call = kNoCall;

  // Whether the jump has an int3 where an instruction began at `offset`, 1 ..
  // 4, so that a thread which goes on there traps. Async-signal-safe.
  bool TrapsAt(uintptr_t offset) const {
    const auto distance = static_cast<uint32_t>(stub - (address + 5));
    return patched == 5 && moved[offset] != 0 &&
           (distance >> 8 * (offset - 1) & 0xff) == 0xcc;
  }
};

// To be called when so many functions are about to be prepared for the first
// time: tables grow once, which keeps less memory.
void ReserveEntryPatches(size_t more);

// Builds the stub for the function at `function` and decides how its entry can
// be patched; changes nothing in the function. `size` is 0 when unknown.
// `site` is the memory whose first word the stub jumps through.
//
// Errors: kFailedPrecondition with the reason why the entry cannot be moved;
//   kResourceExhausted when no memory is free within reach.
// The result is owned by the patch room and lives as long as the process.
absl::StatusOr<EntryPatch*> PrepareEntryPatch(uintptr_t function, size_t size,
                                              const void* site);

// Writes (or takes back) the jumps of all `patches` while other threads run.
// All or nothing: on error every entry is as it was.
//
// While they change, the entries hold int3, and other threads are steered by a
// SIGTRAP handler, which stays and chains to the program's. A thread that has
// been interrupted between the instructions which the jump replaces meets an
// int3 there, whenever it goes on, and is led to their copies: the stub lies
// where the bytes of the jump's distance make it so. No other thread has to run
// for that.
//
// Where no such place is free, the threads are asked by a signal, and moved to
// the copies; one that a handler of its own interrupted there, too.
//
// Errors: kUnavailable, a thread that runs has SIGTRAP blocked for five
// seconds,
//   or one that must be moved cannot be (it blocks signals, is stopped: five
//   seconds; gets no CPU: thirty), or the system has no membarrier;
//   kPermissionDenied, code cannot be written; kFailedPrecondition, someone
//   else has changed the code since it was looked at. The function is named by
//   its address.
//
// Limits: a thread that blocks SIGTRAP in a system call, wakes within the
//   window (about a millisecond) and calls one of the functions is killed by
//   the int3, as is one when the program replaces the handler in the window, or
//   later if it was interrupted inside the jump and goes on only then.
//   Where threads must be moved, interrupted contexts are found on the stack a
//   thread runs on and on those that its signal frames there name, not in
//   contexts saved elsewhere by hand, and a system call that a thread begins
//   just when it is asked where it is may be interrupted: restarted, or EINTR
//   where SA_RESTART does not help. Of an int3 that stays, the first two hold
//   for as long as it does: it is refused while a thread has SIGTRAP blocked,
//   and probe/trap_guard.h keeps threads from blocking it later. Processes that
//   share this memory without being threads of it (a vfork child) are not
//   looked at.
absl::Status ArmEntryPatches(absl::Span<EntryPatch* const> patches);
absl::Status DisarmEntryPatches(absl::Span<EntryPatch* const> patches);

}  // namespace retprobe

#endif  // RETPROBE_PATCH_ENTRY_PATCH_H_
