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

  .globl step_wide
  .type step_wide, @function
step_wide:  // step_push, with something in the upper halves of registers
  .cfi_startproc
  vpcmpeqd %ymm0, %ymm0, %ymm0
  jmp step_push
  .cfi_endproc
  .size step_wide, . - step_wide

  .section .note.GNU-stack, "", @progbits
