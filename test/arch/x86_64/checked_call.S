// SPDX-License-Identifier: Apache-2.0
//
// void checked_call(void (*function)(), CheckedState* state)
//
// Loads every register that a caller could keep a value in with what `state`
// says, calls `function`, and stores what the registers hold afterwards. The
// layout of CheckedState is in checked_call.cc.
#define GENERAL 0
#define VECTORS 128
#define MASKS 2176
#define OUT 2240

  .text
  .globl checked_call
  .type checked_call, @function
checked_call:
  .cfi_startproc
  .irp r, rbx, rbp, r12, r13, r14, r15
  pushq %\r
  .cfi_adjust_cfa_offset 8
  .endr
  pushq %rsi
  .cfi_adjust_cfa_offset 8
  movq %rdi, g_checked_function(%rip)
  movq %rsi, g_checked_state(%rip)
  .irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vmovdqu64 (VECTORS + \r * 64)(%rsi), %zmm\r
  .endr
  .irp r, 0,1,2,3,4,5,6,7
  kmovq (MASKS + \r * 8)(%rsi), %k\r
  .endr
  movq 0(%rsi), %rax
  movq 8(%rsi), %rbx
  movq 16(%rsi), %rcx
  movq 24(%rsi), %rdx
  movq 40(%rsi), %rdi
  movq 48(%rsi), %rbp
  movq 56(%rsi), %r8
  movq 64(%rsi), %r9
  movq 72(%rsi), %r10
  movq 80(%rsi), %r11
  movq 88(%rsi), %r12
  movq 96(%rsi), %r13
  movq 104(%rsi), %r14
  movq 112(%rsi), %r15
  movq 32(%rsi), %rsi
  call *g_checked_function(%rip)
  movq %rsi, g_checked_rsi(%rip)
  movq g_checked_state(%rip), %rsi
  movq %rax, (OUT + 0)(%rsi)
  movq %rbx, (OUT + 8)(%rsi)
  movq %rcx, (OUT + 16)(%rsi)
  movq %rdx, (OUT + 24)(%rsi)
  movq %rdi, (OUT + 40)(%rsi)
  movq %rbp, (OUT + 48)(%rsi)
  movq %r8, (OUT + 56)(%rsi)
  movq %r9, (OUT + 64)(%rsi)
  movq %r10, (OUT + 72)(%rsi)
  movq %r11, (OUT + 80)(%rsi)
  movq %r12, (OUT + 88)(%rsi)
  movq %r13, (OUT + 96)(%rsi)
  movq %r14, (OUT + 104)(%rsi)
  movq %r15, (OUT + 112)(%rsi)
  movq g_checked_rsi(%rip), %rax
  movq %rax, (OUT + 32)(%rsi)
  .irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vmovdqu64 %zmm\r, (OUT + VECTORS + \r * 64)(%rsi)
  .endr
  .irp r, 0,1,2,3,4,5,6,7
  kmovq %k\r, (OUT + MASKS + \r * 8)(%rsi)
  .endr
  vzeroupper
  popq %rsi
  .cfi_adjust_cfa_offset -8
  .irp r, r15, r14, r13, r12, rbp, rbx
  popq %\r
  .cfi_adjust_cfa_offset -8
  .endr
  ret
  .cfi_endproc
  .size checked_call, . - checked_call

  // A body that touches no register at all.
  .globl untouching
  .type untouching, @function
  .balign 16
untouching:
  .nops 8
  ret
  .size untouching, . - untouching

  .local g_checked_function
  .comm g_checked_function, 8, 8
  .local g_checked_state
  .comm g_checked_state, 8, 8
  .local g_checked_rsi
  .comm g_checked_rsi, 8, 8
  .section .note.GNU-stack, "", @progbits
