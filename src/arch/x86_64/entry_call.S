/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reached from the stub of an EntryPatch (patch/entry_patch.h) whose site is
 *
 *   word 0: retprobe_entry_call
 *   word 1: a function void(uint64_t first_argument)
 *   word 2: the patch's bypass
 *
 * Calls the function with the first argument of the patched one, then goes on
 * as if nothing had been there. At entry: rax = the site, the caller's rax in
 * -24(%rsp), rsp as at the patched function's entry. Preserved: the integer
 * argument registers and rax. Not preserved: vector registers and flags, so
 * only for functions without floating-point arguments that are called across
 * a PLT.
 */
  .text
  .globl  retprobe_entry_call
  .hidden  retprobe_entry_call
  .type  retprobe_entry_call, @function
  .p2align 4
retprobe_entry_call:
  .cfi_startproc
  leaq  -128(%rsp), %rsp  /* step over what lies below the stack pointer */
  .cfi_adjust_cfa_offset 128
  pushq  %rbp
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset %rbp, 0
  movq  %rsp, %rbp
  .cfi_def_cfa_register %rbp
  pushq  %rdi
  pushq  %rsi
  pushq  %rdx
  pushq  %rcx
  pushq  %r8
  pushq  %r9
  pushq  %rax
  andq  $-16, %rsp
  call  *8(%rax)
  movq  -8(%rbp), %rdi
  movq  -16(%rbp), %rsi
  movq  -24(%rbp), %rdx
  movq  -32(%rbp), %rcx
  movq  -40(%rbp), %r8
  movq  -48(%rbp), %r9
  movq  -56(%rbp), %rax
  movq  %rbp, %rsp
  popq  %rbp
  .cfi_def_cfa %rsp, 136
  .cfi_restore %rbp
  leaq  128(%rsp), %rsp
  .cfi_def_cfa_offset 8
  jmp  *16(%rax)  /* the bypass reloads rax from -24(%rsp) */
  .cfi_endproc
  .size  retprobe_entry_call, .-retprobe_entry_call
  .section .note.GNU-stack,"",@progbits
