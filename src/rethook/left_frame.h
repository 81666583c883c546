// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_LEFT_FRAME_H_
#define RETPROBE_RETHOOK_LEFT_FRAME_H_

#include <cstdint>

#include "rethook/trampoline.h"

// Frames of the trampoline that go away otherwise than by running on: unwound
// by an exception, or left by a jump. All of it is async-signal-safe.
namespace retprobe {

inline bool InTrampoline(uintptr_t ip) {
  const auto begin = reinterpret_cast<uintptr_t>(&retprobe_entry);
  const auto end = reinterpret_cast<uintptr_t>(&retprobe_trampoline_end);
  return ip - begin < end - begin;
}

// What the trampoline holds at an instruction: a row of the table that
// states.inc makes.
struct FrameState {
  uint32_t offset;  // from retprobe_entry: the row's first instruction
  uint32_t value;   // RETPROBE_STATE_* * 16 + register

  uint32_t kind() const { return value >> 4; }
  int reg() const { return static_cast<int>(value & 15); }
};

// The state of a frame of the trampoline at `ip`: where it was interrupted, or
// where its call returns to.
FrameState StateAt(uintptr_t ip, bool interrupted);

// The register that holds the instance.
inline int HolderOf(FrameState state) {
  switch (state.kind()) {
    case RETPROBE_STATE_PUSHING:
      return RETPROBE_RDX;
    case RETPROBE_STATE_DECIDED:
      return RETPROBE_RBX;
    default:
      return state.reg();
  }
}

// What is left of an instance for an unwinder when a frame of the trampoline
// has been unwound (see personality.cc).
struct UnwindGhost {
  uint64_t return_address;
  uint64_t saved_rbx;
  uint64_t resume;  // _Unwind_Resume of the unwinder at work
  // Until it is given back: a return handler may be left by a jump.
  ReturnInstance* instance;
};
static_assert(offsetof(UnwindGhost, return_address) ==
              RETPROBE_INSTANCE_RETURN_ADDRESS);
static_assert(offsetof(UnwindGhost, saved_rbx) == RETPROBE_INSTANCE_RBX);
static_assert(offsetof(UnwindGhost, resume) == RETPROBE_GHOST_RESUME);

// `address` as one of the calling thread's ghosts, or null. A register that
// held an instance points to its ghost once the frame has been unwound.
UnwindGhost* AsGhost(uint64_t address);

// The instance that a frame in `state` holds, or null; notes in it what it
// takes to end it when the frame goes away. `get` reads one of the frame's
// registers; `sp` is its stack pointer, 0 if not known.
template <typename GetRegister>
ReturnInstance* NoteLeft(FrameState state, uintptr_t sp,
                         const GetRegister& get) {
  const uint32_t kind = state.kind();
  if (kind == RETPROBE_STATE_NONE || kind == RETPROBE_STATE_SLOW) {
    return nullptr;
  }
  const uint64_t held = get(HolderOf(state));
  if (const UnwindGhost* ghost = AsGhost(held)) {
    if (ghost->instance != nullptr) ghost->instance->further_out = nullptr;
    return ghost->instance;
  }
  auto* instance = reinterpret_cast<ReturnInstance*>(held);
  if (instance == nullptr) return nullptr;
  // What the next instructions do, should they be executed, they do once more.
  if (kind == RETPROBE_STATE_WANTED) {
    if ((get(RETPROBE_RAX) & 0xff) != 0) {
      instance->accepted |= get(RETPROBE_R12);
    }
    return nullptr;
  }
  if (kind == RETPROBE_STATE_HEARD) {
    instance->accepted &= get(RETPROBE_R12);
    return nullptr;
  }
  if (kind == RETPROBE_STATE_CALLED && sp != 0 &&
      instance->frame + sizeof(uint64_t) != sp) {
    return nullptr;
  }
  instance->further_out = nullptr;
  instance->left_in = kind;
  if (kind == RETPROBE_STATE_DECIDED) {
    instance->left_in = (get(state.reg()) & 0xff) != 0 ? RETPROBE_STATE_BEGUN
                                                       : RETPROBE_STATE_HELD;
  } else if (kind == RETPROBE_STATE_PUSHING) {
    instance->magazines = reinterpret_cast<void*>(get(state.reg()));
  }
  return instance;
}

// Ends the activations of a chain of noted instances, innermost first, as
// abandoned; null: of none. The return handlers of all run before the first is
// given back, so that a handler may itself be left by a jump: who walks the
// stack meanwhile can read every instance, and ends what is left of this chain.
void EndAbandoned(ReturnInstance* innermost);

// Ends the activation of the noted instance of `ghost` as unwound.
void EndUnwound(UnwindGhost* ghost);

// The calling thread has left every handler and slow path that it was in.
void LeaveHandlers();

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_LEFT_FRAME_H_
