// SPDX-License-Identifier: Apache-2.0
//
// Functions and entries for rethook_registers_test.cc, part of rethook_test.

  .text
  // Tells g_exchanged its return address; touches no register.
  .globl telling
  .type telling, @function
telling:
  movq %rax, -8(%rsp)
  movq (%rsp), %rax
  movq %rax, g_exchanged(%rip)
  movq -8(%rsp), %rax
  ret
  .size telling, . - telling

  // Puts g_exchanged in place of its return address, and that in its place;
  // touches no register.
  .globl exchanging
  .type exchanging, @function
exchanging:
  movq %rax, -8(%rsp)
  movq g_exchanged(%rip), %rax
  xchgq %rax, (%rsp)
  movq %rax, g_exchanged(%rip)
  movq -8(%rsp), %rax
  ret
  .size exchanging, . - exchanging

  // long entered_by_call(long): a framework's entry in front of called_body,
  // which asks void* at_entry(void** return_address) where to go on.
  .globl entered_by_call
  .type entered_by_call, @function
entered_by_call:
  .cfi_startproc
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  leaq 8(%rsp), %rdi
  call at_entry
  popq %rdi
  .cfi_adjust_cfa_offset -8
  testq %rax, %rax
  jz called_body
  leaq called_body(%rip), %r11
  leaq 8(%rsp), %rsp
  .cfi_adjust_cfa_offset -8
  jmp *%rax
  .cfi_endproc
  .size entered_by_call, . - entered_by_call

  // The same for a body that touches nothing. r11 is the entry's.
  .globl untouching_by_call
  .type untouching_by_call, @function
untouching_by_call:
  leaq untouched_body(%rip), %r11
  leaq 8(%rsp), %rsp
  jmp *g_slot(%rip)
untouched_body:
  .nops 8
  ret
  .size untouching_by_call, . - untouching_by_call

  .globl g_exchanged
  .comm g_exchanged, 8, 8
  .globl g_slot
  .comm g_slot, 8, 8
  .section .note.GNU-stack, "", @progbits
