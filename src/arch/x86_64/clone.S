// SPDX-License-Identifier: Apache-2.0
//
// clone of libc for a process with probes: entered from the stub in it, the site
// in rax. A child that shares this memory and this thread's area runs while we
// wait for it, like vfork's (vfork.S); for that long ThreadGuard::unseen is
// raised. Any other goes its way.

#include "arch/x86_64/frame.h"

#define GUARD_UNSEEN 4
#define CLONE_VM 0x100
#define CLONE_VFORK 0x4000
#define CLONE_SETTLS 0x80000

  .text
  .globl retprobe_clone
  .hidden retprobe_clone
  .type retprobe_clone, @function
  .balign 16
retprobe_clone:
  .cfi_startproc
  endbr64
  movl %edx, %r10d
  andl $(CLONE_VM | CLONE_VFORK | CLONE_SETTLS), %r10d
  cmpl $(CLONE_VM | CLONE_VFORK), %r10d
  jne 1f
  movq retprobe_guard@gottpoff(%rip), %r10
  incl %fs:GUARD_UNSEEN(%r10)
  pushq 8(%rsp)  // the seventh argument, where the callee looks for it
  .cfi_adjust_cfa_offset 8
  call *RETPROBE_SITE_BYPASS(%rax)
  leaq 8(%rsp), %rsp
  .cfi_adjust_cfa_offset -8
  movq retprobe_guard@gottpoff(%rip), %r10
  decl %fs:GUARD_UNSEEN(%r10)
  ret
1:
  jmp *RETPROBE_SITE_BYPASS(%rax)
  .cfi_endproc
  .size retprobe_clone, . - retprobe_clone

  .section .note.GNU-stack, "", @progbits
