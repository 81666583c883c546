// SPDX-License-Identifier: Apache-2.0
//
// Entries whose first five bytes are several instructions, with the unwind
// information that compilers give them.

  .text
  .globl step_push
  .type step_push, @function
step_push:  // keeps callee-saved registers
  .cfi_startproc
  push %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset %rbp, -16
  push %rbx
  .cfi_def_cfa_offset 24
  .cfi_offset %rbx, -24
  mov %rsp, %rbp
  .cfi_def_cfa_register %rbp
  lea 1(%rdi), %rax
  xor %ebx, %ebx
  pop %rbx
  .cfi_restore %rbx
  pop %rbp
  .cfi_restore %rbp
  .cfi_def_cfa %rsp, 8
  ret
  .cfi_endproc
  .size step_push, . - step_push

  .globl step_call
  .type step_call, @function
step_call:  // calls at once
  .cfi_startproc
  push %rbx
  .cfi_def_cfa_offset 16
  .cfi_offset %rbx, -16
  call 1f
  pop %rbx
  .cfi_restore %rbx
  .cfi_def_cfa_offset 8
  ret
  .cfi_endproc
1:
  .cfi_startproc
  lea 1(%rdi), %rax
  ret
  .cfi_endproc
  .size step_call, . - step_call

// step_push with nothing above 128 bits of the vector registers, with 256 bits of
// each in use, with 512.
.macro WITH_VECTORS name, register
  .globl \name
  .type \name, @function
\name:
  .cfi_startproc
  vzeroupper
  .irp r, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vpxord %xmm\r, %xmm\r, %xmm\r
  .endr
  .ifnb \register
  .irp r, 0,3,9,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vpternlogd $0xff, %\register\r, %\register\r, %\register\r
  .endr
  .endif
  jmp step_push
  .cfi_endproc
  .size \name, . - \name
.endm
WITH_VECTORS step_narrow,
WITH_VECTORS step_wide, ymm
WITH_VECTORS step_wider, zmm

  .section .note.GNU-stack, "", @progbits
