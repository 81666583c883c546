// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CONTEXT_H_
#define RETPROBE_CONTEXT_H_

#include <cstddef>
#include <cstdint>

#include "retprobe/export.h"

// What a handler sees of one activation of a probed function. The names are
// the kernel's (kernel/trace/rethook.c, include/linux/kprobes.h).
namespace retprobe {

struct ReturnInstance;
struct RegisterFrame;

// Why an activation ended.
enum class EndReason : uint8_t {
  kReturned,   // the function returned to its caller
  kUnwound,    // an exception, pthread_exit or a cancellation left the frame
  kAbandoned,  // longjmp, under any of its names, left the frame, or its stack
               // was given up (AbandonFrames)
};

// Passed to an entry handler, which runs before the function's first
// instruction. Valid only during the call.
class RETPROBE_API EntryContext {
 public:
  // The probed function, and where it will return to; reached by a jump at the
  // end of another probed function: where that one will.
  RETPROBE_HANDLER_API void* function() const noexcept;
  RETPROBE_HANDLER_API void* return_address() const noexcept;

  // The stack pointer the caller has before its call instruction: the
  // canonical frame address, which identifies the activation on its stack.
  RETPROBE_HANDLER_API void* frame() const noexcept;

  // Integer or pointer argument `index`, counted from 0: rdi rsi rdx rcx r8 r9,
  // then the stack. Arguments may be changed; the function sees the new value.
  RETPROBE_HANDLER_API uint64_t argument(int index) const noexcept;
  RETPROBE_HANDLER_API void set_argument(int index, uint64_t value) noexcept;

  // Floating-point argument `index` (xmm0..xmm7). Requires: the probe did not
  // declare that its handlers leave vector registers alone; else 0.
  RETPROBE_HANDLER_API double float_argument(int index) const noexcept;
  RETPROBE_HANDLER_API void set_float_argument(int index,
                                               double value) noexcept;

  // `data_size` bytes that belong to this probe and this activation, aligned
  // to 16, undefined until written. The return handler sees them.
  void* data() const noexcept { return data_; }

 private:
  friend struct ContextAccess;
  ReturnInstance* instance_;
  RegisterFrame* frame_;
  void* data_;
};

// Passed to a return handler, which runs after the function's last
// instruction, or while its frame is unwound. Valid only during the call.
class RETPROBE_API ReturnContext {
 public:
  RETPROBE_HANDLER_API void* function() const noexcept;
  RETPROBE_HANDLER_API void* return_address() const noexcept;
  RETPROBE_HANDLER_API void* frame() const noexcept;

  EndReason reason() const noexcept { return reason_; }

  // The result in rax and rdx (a second word: __int128, small structs). May be
  // changed. Without meaning unless reason() is kReturned.
  RETPROBE_HANDLER_API uint64_t result() const noexcept;
  RETPROBE_HANDLER_API uint64_t result_high() const noexcept;
  RETPROBE_HANDLER_API void set_result(uint64_t value) noexcept;
  RETPROBE_HANDLER_API void set_result_high(uint64_t value) noexcept;

  // The result in xmm0. Requires: as for EntryContext::float_argument.
  RETPROBE_HANDLER_API double float_result() const noexcept;
  RETPROBE_HANDLER_API void set_float_result(double value) noexcept;

  // Integer argument `index` as it was at entry. Requires: the probe asked for
  // it (`saved_arguments` > index); else 0.
  RETPROBE_HANDLER_API uint64_t argument(int index) const noexcept;

  void* data() const noexcept { return data_; }

 private:
  friend struct ContextAccess;
  ReturnInstance* instance_;
  RegisterFrame* frame_;  // null unless returned
  void* data_;
  EndReason reason_;
};

}  // namespace retprobe

#endif  // RETPROBE_CONTEXT_H_
