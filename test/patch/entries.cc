// SPDX-License-Identifier: Apache-2.0
#include "patch/entries.h"

extern "C" {
int entry_data = 1000;
long (*entry_hook)(long) = nullptr;
__attribute__((noinline)) long entry_callee(long value) {
  return entry_hook != nullptr ? entry_hook(value) + 1 : value * 2 + 1;
}
long (*entry_callee_pointer)(long) = entry_callee;

__attribute__((noinline, patchable_function_entry(16, 0))) long entry_patchable(
    long a, long b) {
  return 3 * a + b;
}
}

asm(R"(
.macro ENTRY name
  .p2align 4
ENTRY_HERE \name
.endm
.macro ENTRY_HERE name
  .globl \name
  .type \name, @function
\name:
  .cfi_startproc
.endm
.macro END name
  .cfi_endproc
  .size \name, .-\name
.endm
  .text

ENTRY entry_push
  push %rbp
  .cfi_adjust_cfa_offset 8
  mov %rsp, %rbp
  push %rbx
  lea 7(%rdi,%rsi), %rax
  pop %rbx
  pop %rbp
  .cfi_adjust_cfa_offset -8
  ret
END entry_push

ENTRY entry_endbr
  endbr64
  push %r15
  push %r14
  lea 9(%rdi,%rsi), %rax
  pop %r14
  pop %r15
  ret
END entry_endbr

ENTRY entry_lea_rip
  lea entry_data(%rip), %rax
  movslq (%rax), %rax
  add %rdi, %rax
  ret
END entry_lea_rip

ENTRY entry_load_rip
  mov entry_data(%rip), %eax
  lea (%rax,%rdi,2), %rax
  ret
END entry_load_rip

ENTRY entry_compare_rip
  cmpl $1000, entry_data(%rip)
  sete %al
  movzbl %al, %eax
  add %rdi, %rax
  ret
END entry_compare_rip

ENTRY entry_short_condition
  test %rdi, %rdi
  jle 1f
  lea 100(%rdi), %rax
  ret
1: lea -100(%rdi), %rax
  ret
END entry_short_condition

ENTRY entry_two_conditions
  cmp %sil, %dil
  js 1f
  jc 2f
  mov $3, %eax
  ret
1: mov $1, %eax
  ret
2: mov $2, %eax
  ret
END entry_two_conditions

ENTRY entry_near_condition
  .byte 0x48, 0x85, 0xff      # test %rdi, %rdi
  .byte 0x0f, 0x8e            # jle, near
  .long 1f - . - 4
  lea 100(%rdi), %rax
  ret
1: lea -100(%rdi), %rax
  ret
END entry_near_condition

ENTRY entry_jrcxz
  mov %rdi, %rcx
  jrcxz 1f
  lea 10(%rdi), %rax
  ret
1: mov $-1, %rax
  ret
END entry_jrcxz

ENTRY entry_loop
  mov %edi, %ecx
  loop 1f
  mov $50, %eax
  ret
1: lea 60(%rcx), %rax
  ret
END entry_loop

ENTRY entry_short_jump
  jmp 1f
  .nops 9, 9
1: lea 11(%rdi), %rax
  ret
END entry_short_jump

ENTRY entry_tail_jump
  inc %rdi
  .byte 0xe9
  .long entry_callee - . - 4
END entry_tail_jump

ENTRY entry_tail_jump_memory
  jmp *entry_callee_pointer(%rip)
END entry_tail_jump_memory

ENTRY entry_call
  push %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_offset rbx, -16
  call entry_callee
  pop %rbx
  .cfi_adjust_cfa_offset -8
  add $5, %rax
  ret
END entry_call

ENTRY entry_call_memory
  push %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_offset rbx, -16
  call *entry_callee_pointer(%rip)
  pop %rbx
  .cfi_adjust_cfa_offset -8
  add $6, %rax
  ret
END entry_call_memory

ENTRY entry_call_register
  push %r12
  .cfi_adjust_cfa_offset 8
  lea (%rsp), %rax
  mov entry_callee_pointer(%rip), %rax
  call *%rax
  pop %r12
  .cfi_adjust_cfa_offset -8
  add $7, %rax
  ret
END entry_call_register

ENTRY entry_nop5
  .byte 0x0f, 0x1f, 0x44, 0x00, 0x00
  lea 21(%rdi), %rax
  ret
END entry_nop5

ENTRY entry_nops
  .rept 8
  nop
  .endr
  lea 22(%rdi), %rax
  ret
END entry_nops

ENTRY entry_mixed_nops
  .byte 0x66, 0x90
  .byte 0x0f, 0x1f, 0x40, 0x00
  nop
  lea 23(%rdi), %rax
  ret
END entry_mixed_nops

ENTRY entry_nop3
  .byte 0x0f, 0x1f, 0x00
  lea 24(%rdi), %rax
  ret
END entry_nop3

ENTRY entry_endbr_nops
  endbr64
  .rept 5
  nop
  .endr
  lea 25(%rdi), %rax
  ret
END entry_endbr_nops

ENTRY entry_padded_one
  ret
END entry_padded_one

ENTRY entry_padded_three
  xor %eax, %eax
  ret
END entry_padded_three

ENTRY entry_padded_int3
  xor %eax, %eax
  ret
END entry_padded_int3
  .fill 13, 1, 0xcc

ENTRY entry_late_system_call
  mov $39, %eax
  syscall
  ret
END entry_late_system_call

ENTRY entry_loop_behind_five
  endbr64
  push %rbx
1: dec %rdi
  jnz 1b
  pop %rbx
  lea 31(%rsi), %rax
  ret
END entry_loop_behind_five

# Adds the bytes of [begin, end), all of which must be 0, at +1 with the
# processor's string instruction: it can be interrupted with its pc there.
ENTRY entry_scan
  push %rbx
  .cfi_adjust_cfa_offset 8
  sub %rdi, %rsi
  mov %rsi, %rcx
  mov %rdi, %rsi
  pop %rbx
  .cfi_adjust_cfa_offset -8
  jmp entry_scan_string
END entry_scan

ENTRY entry_scan_string
  push %rbx
  .cfi_adjust_cfa_offset 8
  rep lodsb
  mov %rcx, %rbx
  movzbl %al, %eax
  add %rbx, %rax
  pop %rbx
  .cfi_adjust_cfa_offset -8
  ret
END entry_scan_string

ENTRY entry_read
  push %rbx
  .cfi_adjust_cfa_offset 8
  mov (%rdi), %rax
  lea (%rax,%rsi), %rbx
  mov %rbx, %rax
  pop %rbx
  .cfi_adjust_cfa_offset -8
  ret
END entry_read

ENTRY entry_loop_into_itself
  inc %eax
1: dec %edi
  jnz 1b
  ret
END entry_loop_into_itself

ENTRY entry_loop_to_first
1: dec %rdi
  jg 1b
  mov $4, %eax
  ret
END entry_loop_to_first

ENTRY entry_endbr_loop
  endbr64
1: dec %rdi
  jg 1b
  mov $4, %eax
  ret
END entry_endbr_loop

ENTRY entry_far_branch_target
  mov %rdi, %rax
.Lfar_inside:
  add %rsi, %rax
  inc %rax
  ret
END entry_far_branch_target

ENTRY entry_far_branch_source
  mov %rsi, %rax
  test %rdi, %rdi
  .skip 300, 0x90
  jne .Lfar_inside
  ret
END entry_far_branch_source

ENTRY entry_unpadded_one
  ret
END entry_unpadded_one
ENTRY_HERE entry_unpadded_neighbour
  lea 1(%rdi), %rax
  lea 1(%rdi), %rax
  ret
END entry_unpadded_neighbour

ENTRY entry_before_nops
  ret
END entry_before_nops
ENTRY_HERE entry_before_nops_neighbour
  .rept 8
  nop
  .endr
  ret
END entry_before_nops_neighbour

ENTRY entry_early_system_call
  push $39
  pop %rax
  syscall
  ret
END entry_early_system_call

ENTRY entry_breakpoint
  mov %edi, %eax
  int3
  inc %eax
  ret
END entry_breakpoint

ENTRY entry_early_call
  push %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_offset rbx, -16
  call *(%rdi)
  pop %rbx
  .cfi_adjust_cfa_offset -8
  ret
END entry_early_call

# Tries again, to +3, while the low bits of the argument last.
ENTRY entry_retry
  mov %rsi, %rax
1: shr $1, %rdi
  jc 1b
  lea 3(%rax,%rdi), %rax
  ret
END entry_retry

ENTRY entry_shared
  mov %rdi, %rax
.Lshared_inside:
  lea (%rdi,%rsi), %rax
  inc %rax
  ret
END entry_shared

ENTRY entry_sharing
  .byte 0xe9
  .long .Lshared_inside - . - 4
END entry_sharing

ENTRY entry_tight
  lea (%rdi,%rsi), %rax
END entry_tight
ENTRY_HERE entry_tight_neighbour
  ret
END entry_tight_neighbour

# The call of 2 bytes would return into the jump behind the endbr64.
ENTRY entry_endbr_call
  endbr64
  push %rsi
  .cfi_adjust_cfa_offset 8
  call *(%rdi)
  pop %rsi
  .cfi_adjust_cfa_offset -8
  add %rsi, %rax
  ret
END entry_endbr_call

ENTRY entry_breakpoint_first
  int3
  mov %edi, %eax
  ret
END entry_breakpoint_first

ENTRY entry_eip
  .byte 0x67, 0x8b, 0x05
  .long 0
  ret
END entry_eip

ENTRY entry_runs_on
  xor %eax, %eax
END entry_runs_on
ENTRY_HERE entry_runs_on_neighbour
  lea 3(%rdi), %rax
  ret
END entry_runs_on_neighbour
)");
