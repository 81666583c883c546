// SPDX-License-Identifier: Apache-2.0
//
// longjmp over probed frames: which activations the jump leaves, and their end.
//
// The stack is walked from the jump outwards until the frame that called
// setjmp; what of the trampoline, and which code slots of Rethooks, are passed
// on the way has been left. Nothing is ended before that frame has been found:
// a library that switches between stacks with longjmp goes to a frame which is
// not further out, and the frames that it leaves will run on. "Found" is exact:
// setjmp's caller is unwound by one frame from the jump's own buffer, and the
// walk must come to the same canonical frame address.

#include <signal.h>
#include <unwind.h>

#include <cerrno>

#include "arch/arch.h"
#include "rethook/guard.h"
#include "rethook/hooked.h"
#include "rethook/left_frame.h"
#include "rethook/slow_path.h"
#include "rethook/trampoline.h"

extern "C" {
void retprobe_backtrace_from(const retprobe::arch::JumpTarget* target,
                             _Unwind_Trace_Fn visit, void* argument);
__attribute__((visibility("hidden"))) void retprobe_before_jump(
    const void* buffer, int value, const retprobe::Site* site, uintptr_t sp);
}

namespace retprobe {
namespace {

constexpr uintptr_t kPage = 4096;

// As far as a search costs less than a walk.
constexpr uintptr_t kSearchLimit = 16 * 1024;

// What the kernel pushes for a signal, with room for the largest vector state
// (AT_MINSIGSTKSZ is 11 KB with AMX).
constexpr uintptr_t kSignalFrameLimit = 16 * 1024;

// The kernel reads the set before it refuses the operation.
bool Readable(uintptr_t address) {
  return arch::SystemCall(SYS_rt_sigprocmask, ~0L, static_cast<long>(address),
                          0, sizeof(uint64_t)) == -EINVAL;
}

// Whether something between `sp` and `target` may be a frame of the trampoline,
// or of a slot: its callee, or a signal's frame, holds an address in it. False
// when a jump there does not stay on this stack.
bool MayPassTrampoline(uintptr_t sp, uintptr_t target) {
  if (target <= sp) return false;
  if (target - sp > kSearchLimit) return true;
  for (uintptr_t at = sp; at < target; at += sizeof(uintptr_t)) {
    if (at % kPage == 0 && !Readable(at)) return false;
    const uintptr_t word = *reinterpret_cast<const uintptr_t*>(at);
    if (InTrampoline(word) || RecordAt(word) != nullptr) return true;
  }
  return false;
}

struct StackRange {
  uintptr_t begin = 0;
  uintptr_t size = 0;
  bool Contains(uintptr_t address) const { return address - begin < size; }
};

// The signal stack, if `sp` is on it; else nothing.
StackRange SignalStack(uintptr_t sp) {
  stack_t stack;
  if (arch::SystemCall(SYS_sigaltstack, 0, reinterpret_cast<long>(&stack)) !=
          0 ||
      (stack.ss_flags & SS_ONSTACK) == 0) {
    return {};
  }
  const StackRange range = {reinterpret_cast<uintptr_t>(stack.ss_sp),
                            stack.ss_size};
  return range.Contains(sp) ? range : StackRange();
}

// The canonical address of the frame that a jump goes to.
struct TargetFrame {
  const arch::JumpTarget& target;
  bool reached = false;
  uintptr_t address = 0;  // 0: it cannot be told

  static _Unwind_Reason_Code Visit(_Unwind_Context* context, void* argument) {
    auto& self = *static_cast<TargetFrame*>(argument);
    if (self.reached) {
      self.address = _Unwind_GetCFA(context);
      return _URC_NORMAL_STOP;
    }
    self.reached = _Unwind_GetIP(context) == self.target.rip &&
                   _Unwind_GetCFA(context) == self.target.rsp;
    return _URC_NO_REASON;
  }
};

// Instances, innermost first.
struct Chain {
  ReturnInstance* innermost = nullptr;
  ReturnInstance** last = &innermost;

  void Add(ReturnInstance* instance) {
    *last = instance;
    last = &instance->further_out;
    instance->further_out = nullptr;
  }
};

// Collects the instances of trampoline frames, and of slots, from here to
// `target`.
struct Walk {
  const uintptr_t target;
  const StackRange signal_stack;
  bool found = false;
  bool passed = false;  // a frame of the trampoline, or an Ending
  uintptr_t sp = 0;     // of the frame before
  const Ending* ending = InnermostEnding();  // further out than that
  uintptr_t signal_frame = 0;                // the last one passed
  InterruptedSlowPath slow;
  Chain probed;
  Chain hooked;

  // Whether a slow path has been passed that was interrupted. What lies further
  // out waits until it has been finished, and the jump is made again from
  // there.
  bool waits() const { return slow.sp != 0; }

  // Whether a frame with stack pointer `next` may have been interrupted by the
  // signal that was taken at `sp`: below it, or on another stack than the
  // signal stack. A signal stack that is not in force has become a coroutine's.
  bool Interrupted(uintptr_t next) const {
    if (signal_stack.Contains(sp) && !signal_stack.Contains(next)) return true;
    return next > sp && next - sp < kSignalFrameLimit;
  }

  void Note(FrameState state, _Unwind_Context* context) {
    if (state.kind() == RETPROBE_STATE_NONE || waits()) return;
    if (state.kind() == RETPROBE_STATE_SLOW && signal_frame != 0) {
      slow = {signal_frame, sp};
      return;
    }
    passed = true;
    ReturnInstance* instance = NoteLeft(
        state, sp, [&](int number) { return _Unwind_GetGR(context, number); });
    if (instance == nullptr) return;
    probed.Add(instance);
  }

  void NoteSlot(uintptr_t ip) {
    const SlotRecord* record = RecordAt(ip);
    // relaxed, both: this thread's, or done with. Whose handler is running is
    // an Ending.
    if (record == nullptr || ip != ReturnInto(record) ||
        record->owner.load(std::memory_order_relaxed) == 0 ||
        record->running.load(std::memory_order_relaxed) != nullptr) {
      return;
    }
    hooked.Add(record->instance);
  }

  // Of the frame before, which ends at `next`.
  void NoteEndings(uintptr_t next) {
    if (waits()) return;
    while (ending != nullptr &&
           reinterpret_cast<uintptr_t>(ending) - sp < next - sp) {
      ending = ending->further_out;
      passed = true;
    }
  }

  static _Unwind_Reason_Code Visit(_Unwind_Context* context, void* argument) {
    auto& self = *static_cast<Walk*>(argument);
    int interrupted = 0;
    const uintptr_t ip = _Unwind_GetIPInfo(context, &interrupted);
    const uintptr_t sp = _Unwind_GetCFA(context);
    if (interrupted != 0 ? !self.Interrupted(sp) : sp < self.sp) {
      return _URC_NORMAL_STOP;
    }
    if (interrupted != 0) self.signal_frame = self.sp;
    if (self.sp != 0 && sp > self.sp) self.NoteEndings(sp);
    self.sp = sp;
    self.found = sp == self.target;
    if (self.found) return _URC_NORMAL_STOP;
    if (InTrampoline(ip)) {
      self.Note(StateAt(ip, interrupted != 0), context);
    } else if (!self.waits()) {
      self.NoteSlot(ip);
    }
    return _URC_NO_REASON;
  }
};

}  // namespace
}  // namespace retprobe

void retprobe_before_jump(const void* buffer, int value,
                          const retprobe::Site* site, uintptr_t sp) {
  using namespace retprobe;
  if (Unseen()) return;
  const arch::JumpTarget target = arch::ReadJumpBuffer(buffer);
  const StackRange signal_stack = SignalStack(sp);
  if (signal_stack.size == 0 && InnermostEnding() == nullptr &&
      !MayPassTrampoline(sp, target.rsp)) {
    return;
  }
  TargetFrame frame = {target};
  retprobe_backtrace_from(&target, &TargetFrame::Visit, &frame);
  if (frame.address == 0) return;
  Walk walk = {frame.address, signal_stack};
  _Unwind_Backtrace(&Walk::Visit, &walk);
  if (!walk.found) return;
  if (walk.passed) LeaveHandlers();
  LeaveEndings(walk.ending);
  if (walk.hooked.innermost != nullptr) EndHooked(walk.hooked.innermost);
  if (walk.probed.innermost != nullptr) EndAbandoned(walk.probed.innermost);
  if (walk.waits()) FinishThenJump(walk.slow, site->function, buffer, value);
}
