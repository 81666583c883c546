// SPDX-License-Identifier: Apache-2.0
//
// vfork for a process with probes: entered from the stub in libc's vfork, with
// the caller's return address at (%rsp). Raises ThreadGuard::unseen around the
// system call. The child shares this memory and the parent's thread area but has
// no rseq registration: its calls must not touch the pool. It never takes the
// mark down; the parent does when the child is gone.
//
// The child returns first and reuses the stack above, so the return address
// waits in a register, as in libc's own.

#define GUARD_UNSEEN 4
#define SYS_VFORK 58
#define MAX_ERRNO 4095

  .text
  .globl retprobe_vfork
  .hidden retprobe_vfork
  .type retprobe_vfork, @function
  .balign 16
retprobe_vfork:
  .cfi_startproc
  endbr64
  movq retprobe_guard@gottpoff(%rip), %rdx
  incl %fs:GUARD_UNSEEN(%rdx)
  popq %rdi
  .cfi_adjust_cfa_offset -8
  .cfi_register %rip, %rdi
  movl $SYS_VFORK, %eax
  syscall
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  .cfi_offset %rip, -8
  testl %eax, %eax
  jz 1f
  decl %fs:GUARD_UNSEEN(%rdx)
  cmpl $-MAX_ERRNO, %eax
  jae 2f
1:
  ret
2:
  negl %eax
  pushq %rax
  .cfi_adjust_cfa_offset 8
  call __errno_location@PLT
  popq %rcx
  .cfi_adjust_cfa_offset -8
  movl %ecx, (%rax)
  movl $-1, %eax
  ret
  .cfi_endproc
  .size retprobe_vfork, . - retprobe_vfork

  .section .note.GNU-stack, "", @progbits
