// SPDX-License-Identifier: Apache-2.0
//
// longjmp for a process with probes: entered from the stub in one of libc's
// entries, with the site in rax and the caller's return address at (%rsp). Ends
// the activations that the jump leaves, then jumps.

#include "arch/x86_64/frame.h"
#include "arch/x86_64/jump_buffer.h"

  .text
  .globl retprobe_longjmp
  .hidden retprobe_longjmp
  .type retprobe_longjmp, @function
  .balign 16
retprobe_longjmp:
  .cfi_startproc
  endbr64
  pushq %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset %rbp, -16
  movq %rsp, %rbp
  .cfi_def_cfa_register %rbp
  pushq %rax
  pushq %rsi
  pushq %rdi
  movq %rax, %rdx
  leaq 16(%rbp), %rcx
  andq $-16, %rsp
  call retprobe_before_jump
  leaq -24(%rbp), %rsp
  popq %rdi
  popq %rsi
  popq %rax
  popq %rbp
  .cfi_def_cfa %rsp, 8
  .cfi_restore %rbp
  jmp *RETPROBE_SITE_BYPASS(%rax)
  .cfi_endproc
  .size retprobe_longjmp, . - retprobe_longjmp

// void retprobe_backtrace_from(const JumpTarget*, trace function, its argument)
//
// _Unwind_Backtrace of the stack as it will be when the jump has been made: to
// an unwinder this frame's caller is setjmp's caller.
  .macro SAVED_IN_TARGET column, offset
  .cfi_escape 0x10, \column, 2, 0x73, \offset  // DW_CFA_expression: rbx + offset
  .endm

  .globl retprobe_backtrace_from
  .hidden retprobe_backtrace_from
  .type retprobe_backtrace_from, @function
  .balign 16
retprobe_backtrace_from:
  .cfi_startproc
  pushq %rbx
  .cfi_def_cfa_offset 16
  .cfi_offset %rbx, -16
  movq %rdi, %rbx
  movq %rsi, %rdi
  movq %rdx, %rsi
  movq _Unwind_Backtrace@GOTPCREL(%rip), %rax
  .cfi_remember_state
  // call *%rax. Unwinders look the call up by its last byte; whoever is
  // interrupted before it still has the caller he has.
  .byte 0xff
  .cfi_escape 0x0f, 3, 0x73, RETPROBE_JUMP_RSP, 0x06  // CFA = *(rbx + offset)
  SAVED_IN_TARGET 3, RETPROBE_JUMP_RBX
  SAVED_IN_TARGET 6, RETPROBE_JUMP_RBP
  SAVED_IN_TARGET 12, RETPROBE_JUMP_R12
  SAVED_IN_TARGET 13, RETPROBE_JUMP_R13
  SAVED_IN_TARGET 14, RETPROBE_JUMP_R14
  SAVED_IN_TARGET 15, RETPROBE_JUMP_R15
  SAVED_IN_TARGET 16, RETPROBE_JUMP_RIP
  .byte 0xd0
  .cfi_restore_state
  popq %rbx
  .cfi_def_cfa_offset 8
  .cfi_restore %rbx
  ret
  .cfi_endproc
  .size retprobe_backtrace_from, . - retprobe_backtrace_from

// void retprobe_sigreturn(ucontext_t*), at the end of a signal's frame.
  .globl retprobe_sigreturn
  .hidden retprobe_sigreturn
  .type retprobe_sigreturn, @function
retprobe_sigreturn:
  .cfi_startproc
  .cfi_undefined %rip
  movq %rdi, %rsp
  movl $15, %eax  // rt_sigreturn
  syscall
  .cfi_endproc
  .size retprobe_sigreturn, . - retprobe_sigreturn

  .section .note.GNU-stack, "", @progbits
