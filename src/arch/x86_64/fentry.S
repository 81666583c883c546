// SPDX-License-Identifier: Apache-2.0
//
// What __fentry__ jumps to (retprobe/adapters/fentry.h), with its handler pushed.
// As in trampoline.S callers may keep values in any register, so everything but
// flags is preserved; CFA is the stack pointer of the function before its call
// of __fentry__, and above that is its own return address.
//
//   CFA   return address of the function
//   CFA-8 where it goes on   CFA-16 handler   CFA-24 rbp   CFA-32 rbx
//
// Before a Rethook has been created the handler is not called: nobody has asked
// yet which vector registers there are.

#include "arch/x86_64/frame.h"
#include "arch/x86_64/vectors.inc"

// A RegisterFrame as far as vectors.inc writes to it.
#define TOLD_BYTES 56

// rdi, rsi = the handler's arguments.
.macro CALL_KEEPING class
  movq %rdi, %r12
  movq %rsp, %rdi
  RETPROBE_SAVE_\class
  movq %r12, %rdi
  call *16(%rbx)
  movq %rsp, %rdi
  RETPROBE_RESTORE_\class
  jmp .Lcalled
.endm

  .text
  .globl retprobe_fentry
  .type retprobe_fentry, @function
  .balign 64
retprobe_fentry:
  .cfi_startproc
  .cfi_def_cfa_offset 16
  endbr64
  pushq %rbp
  .cfi_adjust_cfa_offset 8
  .cfi_offset %rbp, -24
  pushq %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_offset %rbx, -32
  movq %rsp, %rbx
  .cfi_def_cfa_register %rbx
  pushq %r12
  .cfi_offset %r12, -40
  .irp r, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
  pushq %\r
  .endr
  subq $TOLD_BYTES, %rsp
  movq %rsp, %rbp
  subq $RETPROBE_VECTOR_AREA, %rsp
  andq $-64, %rsp
  leaq 32(%rbx), %rdi
  movq 24(%rbx), %rsi
  movl retprobe_vector_level(%rip), %eax
  cmpl $1, %eax
  jl .Lsse
  je .Lavx
  cmpl $2, %eax
  je .Lall_f
  CALL_KEEPING ALL
.Lall_f:
  CALL_KEEPING ALL_F
.Lavx:
  CALL_KEEPING AVX
.Lsse:
  testl %eax, %eax
  js .Lcalled
  CALL_KEEPING SSE
.Lcalled:
  leaq TOLD_BYTES(%rbp), %rsp
  .irp r, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax, r12
  popq %\r
  .endr
  .cfi_restore %r12
  .cfi_def_cfa %rsp, 32
  popq %rbx
  .cfi_adjust_cfa_offset -8
  .cfi_restore %rbx
  popq %rbp
  .cfi_adjust_cfa_offset -8
  .cfi_restore %rbp
  leaq 8(%rsp), %rsp
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
  .size retprobe_fentry, . - retprobe_fentry

  .section .note.GNU-stack, "", @progbits
