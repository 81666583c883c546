// SPDX-License-Identifier: Apache-2.0
//
// What functions with hooked returns begin with. All but r11 and flags is
// preserved.

#define ARGUMENTS rax, rcx, rdx, rsi, rdi, r8, r9, r10
#define ARGUMENTS_BACK r10, r9, r8, rdi, rsi, rdx, rcx, rax

  .text
  // Called, as __fentry__ is: (%rsp) is where to go on in the function, 8(%rsp)
  // its return address.
  .globl bench_enter
  .type bench_enter, @function
  .balign 16
bench_enter:
  .cfi_startproc
  .cfi_def_cfa_offset 16
  .irp r, ARGUMENTS
  pushq %\r
  .cfi_adjust_cfa_offset 8
  .endr
  leaq 72(%rsp), %rdi
  call bench_hook
  .irp r, ARGUMENTS_BACK
  popq %\r
  .cfi_adjust_cfa_offset -8
  .endr
  ret
  .cfi_endproc
  .size bench_enter, . - bench_enter

  // Jumped to, as from a patched entry: r11 is where to go on in the function,
  // (%rsp) its return address.
  .globl bench_enter_by_call
  .type bench_enter_by_call, @function
  .balign 16
bench_enter_by_call:
  .cfi_startproc
  pushq %r11
  .cfi_adjust_cfa_offset 8
  .irp r, ARGUMENTS
  pushq %\r
  .cfi_adjust_cfa_offset 8
  .endr
  leaq 72(%rsp), %rdi
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  call bench_hook_call
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  movq %rax, -8(%rsp)
  testq %rax, %rax
  .irp r, ARGUMENTS_BACK
  popq %\r
  .cfi_adjust_cfa_offset -8
  .endr
  popq %r11
  .cfi_adjust_cfa_offset -8
  jz 1f
  leaq 8(%rsp), %rsp
  .cfi_adjust_cfa_offset -8
  jmp *-88(%rsp)
1:
  .cfi_adjust_cfa_offset 8
  jmp *%r11
  .cfi_endproc
  .size bench_enter_by_call, . - bench_enter_by_call

  .section .note.GNU-stack, "", @progbits
