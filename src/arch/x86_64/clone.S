// SPDX-License-Identifier: Apache-2.0
//
// clone of libc for a process with probes: entered from the stub in it, the site
// in rax. A child that shares this memory and this thread's area must not touch
// the pool (vfork.S says why), nor may this thread think itself alone meanwhile:
// ThreadGuard::unseen is raised. If we wait for the child, until then. If it runs
// beside us, until it is gone: the kernel tells by clearing ThreadGuard::child,
// as it does for whoever joins a thread. Where that is not to be had (there is
// such a child already; the program wants to be told itself) for good. Any other
// clone goes its way.

#include "arch/x86_64/frame.h"

#define CLONE_VM 0x100
#define CLONE_VFORK 0x4000
#define CLONE_SETTLS 0x80000
#define CLONE_CHILD_CLEARTID 0x200000
#define CLONE_CHILD_SETTID 0x1000000

  .text
  .globl retprobe_clone
  .hidden retprobe_clone
  .type retprobe_clone, @function
  .balign 16
retprobe_clone:
  .cfi_startproc
  endbr64
  movl %edx, %r10d
  andl $(CLONE_VM | CLONE_SETTLS), %r10d
  cmpl $CLONE_VM, %r10d
  jne .Lother
  movq retprobe_guard@gottpoff(%rip), %r10
  incl %fs:RETPROBE_GUARD_UNSEEN(%r10)
  movq 8(%rsp), %r11  // the seventh argument: where the child's id is cleared
  testl $CLONE_VFORK, %edx
  jnz .Lwait
  testl $(CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID), %edx
  jnz .Lfor_good
  cmpl $0, %fs:RETPROBE_GUARD_BESIDE(%r10)
  jne .Lfor_good
  movl $1, %fs:RETPROBE_GUARD_CHILD(%r10)
  movl $1, %fs:RETPROBE_GUARD_BESIDE(%r10)
  orl $CLONE_CHILD_CLEARTID, %edx
  movq %fs:0, %r11
  leaq RETPROBE_GUARD_CHILD(%r11, %r10), %r11
  pushq %r11
  .cfi_remember_state
  .cfi_adjust_cfa_offset 8
  call *RETPROBE_SITE_BYPASS(%rax)
  leaq 8(%rsp), %rsp
  .cfi_adjust_cfa_offset -8
  testl %eax, %eax
  jns 1f
  movq retprobe_guard@gottpoff(%rip), %r10
  movl $0, %fs:RETPROBE_GUARD_CHILD(%r10)
1:
  ret
  .cfi_restore_state

.Lfor_good:
  pushq %r11
  .cfi_remember_state
  .cfi_adjust_cfa_offset 8
  call *RETPROBE_SITE_BYPASS(%rax)
  leaq 8(%rsp), %rsp
  .cfi_adjust_cfa_offset -8
  testl %eax, %eax
  js .Ldone
  ret
  .cfi_restore_state

.Lwait:
  pushq %r11
  .cfi_adjust_cfa_offset 8
  call *RETPROBE_SITE_BYPASS(%rax)
  leaq 8(%rsp), %rsp
  .cfi_adjust_cfa_offset -8
.Ldone:
  movq retprobe_guard@gottpoff(%rip), %r10
  decl %fs:RETPROBE_GUARD_UNSEEN(%r10)
  ret

.Lother:
  jmp *RETPROBE_SITE_BYPASS(%rax)
  .cfi_endproc
  .size retprobe_clone, . - retprobe_clone

  .section .note.GNU-stack, "", @progbits
