// SPDX-License-Identifier: Apache-2.0
//
// Where a hooked function's return goes on, from its code slot (slot.h): runs
// the handler, then goes where the function was to return to. As in
// trampoline.S, callers may keep values in any register, so everything but flags
// is preserved; CFA is the caller's stack pointer before its call.
//
//   CFA-8 return address   CFA-16 rbp   CFA-24 rbx   CFA-32 rax   CFA-40 rcx
//   CFA-48 rdx   CFA-56 rsi   CFA-64 r11, stored by the slot
//
// A function that was entered through the slot's call returns to it by a paired
// return, and the processor still expects one to the caller: `ret`. One whose
// return address was replaced has used that expectation up (wrongly); another
// `ret` would take the caller's own, and make every return further out a wrong
// guess: `jmp`.

#include "arch/x86_64/frame.h"
#include "arch/x86_64/register_frame.inc"
#include "arch/x86_64/slot.h"
#include "arch/x86_64/vectors.inc"

// Where slots go on, one for each way of keeping vector registers: r11 =
// SlotRecord, rsp = CFA. Between save and restore rbp is a RegisterFrame.
.macro HOOKED_RETURN name
  .globl \name
  .hidden \name
  .type \name, @function
  .balign 64
\name:
  .cfi_startproc simple
  .cfi_def_cfa %rsp, 0
  // DW_CFA_expression of rip (16): DW_OP_breg11 + offset
  .cfi_escape 0x10, 16, 2, 0x7b, RETPROBE_RECORD_RETURN_ADDRESS
  endbr64
  pushq RETPROBE_RECORD_RETURN_ADDRESS(%r11)
  .cfi_def_cfa %rsp, 8
  .cfi_offset %rip, -8
  movq %rbp, -8(%rsp)
  .cfi_offset %rbp, -16
  movq %rbx, -16(%rsp)
  .cfi_offset %rbx, -24
  movq %rax, -24(%rsp)
  movq %rcx, -32(%rsp)
  movq %rdx, -40(%rsp)
  movq %rsi, -48(%rsp)
  PUSH_FRAME 32(%rsp)
.endm

.macro END_HOOKED
  movq %r11, %rdi
  movq %rbp, %rsi
  call retprobe_end_hooked
.endm

.macro DROP_HOOKED_FRAME
  POP_FRAME
  movq -48(%rsp), %rsi
  movq -40(%rsp), %rdx
  movq -32(%rsp), %rcx
  movq -24(%rsp), %rax
  movq -16(%rsp), %rbx
  .cfi_same_value %rbx
  movq -8(%rsp), %rbp
  .cfi_same_value %rbp
.endm

// Goes to where the function was to return to. al = what retprobe_end_hooked
// said; the record may be another activation's by now.
.macro LEAVE_HOOKED name
  testb $RETPROBE_RECORD_CALLED, %al
  jz 3f
  .cfi_remember_state
  DROP_HOOKED_FRAME
  ret
3:
  .cfi_restore_state
  DROP_HOOKED_FRAME
  leaq 8(%rsp), %rsp
  .cfi_def_cfa_offset 0
  notrack jmp *-8(%rsp)  // there is no endbr64 at return addresses
  .cfi_endproc
  .size \name, . - \name
.endm

// `class`: what is kept (vectors.inc).
.macro HOOKED_RETURN_KEEPING name, class
HOOKED_RETURN \name
  subq $RETPROBE_VECTOR_AREA, %rsp
  movq %rsp, %rdi
  RETPROBE_SAVE_\class
  END_HOOKED
  movq %rsp, %rdi
  RETPROBE_RESTORE_\class
LEAVE_HOOKED \name
.endm

  .text
// All there is, by retprobe_vector_level.
HOOKED_RETURN_KEEPING retprobe_hooked_return_sse, SSE
HOOKED_RETURN_KEEPING retprobe_hooked_return_avx, AVX
HOOKED_RETURN_KEEPING retprobe_hooked_return_all_f, ALL_F
HOOKED_RETURN_KEEPING retprobe_hooked_return_all, ALL

// The handler leaves vector registers alone.
HOOKED_RETURN retprobe_hooked_return_bare
  END_HOOKED
LEAVE_HOOKED retprobe_hooked_return_bare

  // Every unwinding of a hooked frame lands here for a moment: the slot's frame
  // has the stack pointer and the CFA of its caller, whom unwinders cannot tell
  // from it, and the record must not be given back while they read it. Goes on
  // as if the caller had called _Unwind_Resume. rax = exception, rdx =
  // SlotRecord.
  .globl retprobe_hooked_landing_pad
  .hidden retprobe_hooked_landing_pad
  .type retprobe_hooked_landing_pad, @function
retprobe_hooked_landing_pad:
  .cfi_startproc simple
  .cfi_def_cfa %rsp, 0
  // DW_OP_breg1 (rdx) + offset
  .cfi_escape 0x10, 16, 2, 0x71, RETPROBE_RECORD_RETURN_ADDRESS
  endbr64
  pushq RETPROBE_RECORD_RETURN_ADDRESS(%rdx)
  .cfi_def_cfa %rsp, 8
  .cfi_offset %rip, -8
  pushq %rbp
  .cfi_adjust_cfa_offset 8
  .cfi_offset %rbp, -16
  movq %rsp, %rbp
  .cfi_def_cfa_register %rbp
  pushq %rax
  andq $-16, %rsp
  movq %rdx, %rdi
  call retprobe_end_unwound  // returns _Unwind_Resume
  movq -8(%rbp), %rdi
  leave
  .cfi_def_cfa %rsp, 8
  .cfi_same_value %rbp
  jmp *%rax
  .cfi_endproc
  .size retprobe_hooked_landing_pad, . - retprobe_hooked_landing_pad

  .section .note.GNU-stack, "", @progbits
