// SPDX-License-Identifier: Apache-2.0
//
// The call-through trampoline: instead of overwriting the return address on the
// stack it calls the function's body, so that every call and every return is
// paired (return predictor, hardware shadow stack) and every frame has unwind
// information.
//
//   f:  jmp stub                      stub: mov %rax, -24(%rsp)
//                                           mov $site, %rax
//                                           jmp *(%rax)  -> retprobe_entry
//
//   retprobe_entry(site):
//     list = site->list                        \  one rseq critical section, so
//     instance = magazine[cpu].front            | that Detach's membarrier sees
//     instance->list = list                    /  every list in use
//     if list has entry handlers: dispatch; declined: give back, run the body
//     pop instance->return_address             rsp is at the caller's level
//     call instance->body                      rbx = instance meanwhile
//   retprobe_return:
//     push instance->return_address
//     if list has return handlers: dispatch
//     magazine[cpu].front = instance              rseq critical section
//     ret
//
// Where the front is empty, or taken, the magazine's array serves in a critical
// section of its own, and when that cannot either, C++.
//
// Callers compiled with -fipa-ra may keep values in any register that the body
// leaves alone, so everything but flags is preserved on both sides. Scratch
// registers are kept in the 128 bytes below the stack pointer, which nobody owns
// at a function's entry and return and which signal handlers skip. What is
// needed after the instance is given back must not lie in the instance.
//
// On x86-64 a plain load acquires and a plain store releases. Where that is the
// other side of an edge of the C++ code (src/README.md, Memory order), the
// instruction says so.
//
// Below, CFA is the caller's stack pointer before its call. From the first
// instruction to `popq`, and from `pushq` to `ret`, rsp = CFA - 8:
//   CFA-8 return address   CFA-16 rbp   CFA-24 rbx   CFA-32 rax   CFA-40 rcx
//   CFA-48 rdx   CFA-56 rsi   CFA-64 the site, where rax is wanted
// Between them the frame has no bytes of its own and unwinders find the return
// address and rbx in the instance, through rbx.

#include "arch/x86_64/critical_sections.inc"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/handler_calls.inc"
#include "arch/x86_64/register_frame.inc"
#include "arch/x86_64/states.inc"

// DW_CFA_expression of rip (16), of rbx (3): DW_OP_breg3 (rbx) + offset.
.macro CFI_RETURN_ADDRESS_IN_INSTANCE
  .cfi_escape 0x10, 16, 2, 0x73, RETPROBE_INSTANCE_RETURN_ADDRESS
.endm

.macro CFI_RBX_IN_INSTANCE
  .cfi_escape 0x10, 3, 2, 0x73, RETPROBE_INSTANCE_RBX
.endm

// Around PUSH_FRAME: rsp = CFA - 8, where rax, rcx, rdx and rsi are stored.
.macro BUILD_FRAME
  movq %rbp, -8(%rsp)
  .cfi_offset %rbp, -16
  PUSH_FRAME
.endm

.macro DROP_FRAME
  POP_FRAME
  movq -8(%rsp), %rbp
  .cfi_restore %rbp
.endm

  .text
  .globl retprobe_entry
  .hidden retprobe_entry
  .type retprobe_entry, @function
  .balign 64
retprobe_entry:
  .cfi_startproc
  .cfi_personality 0x1b, retprobe_personality
  STATE NONE
  endbr64
  movq %rcx, -32(%rsp)
  movq %rdx, -40(%rsp)
  movq %rsi, -48(%rsp)
.Lask_guard:
  movq retprobe_guard@gottpoff(%rip), %rcx
  cmpq $0, %fs:(%rcx)
  jne .Lrecursion
.Lpop_again:  // rax = site
  BEGIN_POP pop
  movq RETPROBE_MAGAZINE_FRONT(%rdx), %rcx
  testq %rcx, %rcx
  jle .Lpop_array
  movq %rsi, RETPROBE_INSTANCE_LIST(%rcx)  // releases, as R3 of dispatch.cc
  movq $0, RETPROBE_MAGAZINE_FRONT(%rdx)
.Lpop_end:
.Ltaken:  // rcx = instance, rsi = its list
  STATE HELD, RCX
  movq RETPROBE_LIST_BODY(%rsi), %rdx
  movq %rsp, RETPROBE_INSTANCE_FRAME(%rcx)
  movq %rdx, RETPROBE_INSTANCE_BODY(%rcx)
  // rbx goes straight into the instance and back: a caller that keeps its loop
  // counter there waits for this one store and load.
  movq %rbx, RETPROBE_INSTANCE_RBX(%rcx)
  movq %rcx, %rbx
  CFI_RBX_IN_INSTANCE
  STATE HELD, RBX
  testb $RETPROBE_FLAG_ENTRY, RETPROBE_LIST_FLAGS(%rsi)
  jnz .Lentry_handlers
.Lcall_body:
  STATE BEGUN, RBX
  movq -24(%rsp), %rax
  movq -32(%rsp), %rcx
  movq -40(%rsp), %rdx
  movq -48(%rsp), %rsi
  popq RETPROBE_INSTANCE_RETURN_ADDRESS(%rbx)
  .cfi_endproc

  // An entry of its own in the unwind table, as short as can be: every unwinder
  // runs it twice for every probed frame.
  .cfi_startproc simple
  .cfi_personality 0x1b, retprobe_personality
  .cfi_def_cfa %rsp, 0
  CFI_RETURN_ADDRESS_IN_INSTANCE
  CFI_RBX_IN_INSTANCE
  STATE CALLED, RBX
  callq *RETPROBE_INSTANCE_BODY(%rbx)
  .cfi_endproc

  .cfi_startproc simple
  .cfi_personality 0x1b, retprobe_personality
  .cfi_def_cfa %rsp, 0
  CFI_RETURN_ADDRESS_IN_INSTANCE
  CFI_RBX_IN_INSTANCE
  .globl retprobe_return
  .hidden retprobe_return
retprobe_return:
  pushq RETPROBE_INSTANCE_RETURN_ADDRESS(%rbx)
  .cfi_def_cfa %rsp, 8
  .cfi_offset %rip, -8
  STATE BEGUN, RBX
  movq %rdx, -40(%rsp)
  movq %rbx, %rdx
  movq RETPROBE_INSTANCE_RBX(%rbx), %rbx
  .cfi_same_value %rbx
  STATE BEGUN, RDX
  movq %rsi, -48(%rsp)
  movq %rcx, -32(%rsp)
  movq %rax, -24(%rsp)
  movq RETPROBE_INSTANCE_LIST(%rdx), %rsi
  testb $(RETPROBE_FLAG_RETURN | RETPROBE_FLAG_LEAF), RETPROBE_LIST_FLAGS(%rsi)
  jnz .Lreturn_handlers
.Lgive_back:  // rdx = instance, rsi = list
  STATE HELD, RDX
  movq RETPROBE_LIST_MAGAZINES(%rsi), %rsi
.Lpush_again:
  STATE PUSHING, RSI
  BEGIN_PUSH push
  cmpq $0, RETPROBE_MAGAZINE_FRONT(%rax)
  jne .Lpush_array
  movq $0, RETPROBE_INSTANCE_LIST(%rdx)  // releases, as R2 of dispatch.cc
  movq %rdx, RETPROBE_MAGAZINE_FRONT(%rax)
.Lpush_end:
.Lleave:
  STATE NONE
  movq -24(%rsp), %rax
  movq -32(%rsp), %rcx
  movq -40(%rsp), %rdx
  movq -48(%rsp), %rsi
  ret

#include "arch/x86_64/return_handlers.inc"
  .cfi_same_value %rbx

  // The front is taken: into the array.
.Lpush_array:  // rdx = instance, rsi = magazines
  STATE PUSHING, RSI
  BEGIN_PUSH push_array
  movq (%rax), %rcx
  cmpq RETPROBE_MAGAZINE_HEADER_CAPACITY(%rsi), %rcx
  jae .Lpush_slow
  movq %rdx, 8(%rax, %rcx, 8)
  movq $0, RETPROBE_INSTANCE_LIST(%rdx)  // releases, as R2 of dispatch.cc
  incq %rcx
  movq %rcx, (%rax)
.Lpush_array_end:
  STATE NONE
  jmp .Lleave

.Lpush_slow:  // rdx = instance, rsi = magazines
  STATE PUSHING, RSI
  BUILD_FRAME
  movq %rsi, %rdi
  STATE PUSHING, RDI
  movq %rdx, %rsi
  STATE_IN_CALL SLOW
  call retprobe_give_slow
  STATE NONE
  DROP_FRAME
  jmp .Lleave
  .cfi_endproc

  .cfi_startproc
  .cfi_personality 0x1b, retprobe_personality
  CFI_RBX_IN_INSTANCE
#include "arch/x86_64/entry_handlers.inc"

.Ldeclined:  // rbx = instance
  STATE HELD, RBX
  // rbx leaves the instance before the instance does.
  movq RETPROBE_INSTANCE_RBX(%rbx), %rdx
  movq %rdx, -16(%rsp)
  .cfi_offset %rbx, -24
  BUILD_FRAME
  movq %rbx, %rdi
  STATE_IN_CALL SLOW
  call retprobe_decline
  STATE NONE
  movq %rax, %rcx
  DROP_FRAME
  movq %rcx, %rax
  movq -16(%rsp), %rbx
  jmp .Lbypass
  .cfi_endproc

#include "arch/x86_64/dispatched_handlers.inc"

  .cfi_startproc
  .cfi_personality 0x1b, retprobe_personality
.Lrecursion:  // rax = site, rcx = the guard's offset
  cmpl $0, %fs:RETPROBE_GUARD_UNSEEN(%rcx)  // nobody's misses
  jne .Lunseen
  lock incq RETPROBE_SITE_MISSED_RECURSION(%rax)
.Lbypass:  // rax = site
  movq -32(%rsp), %rcx
  movq -40(%rsp), %rdx
  movq -48(%rsp), %rsi
  jmp *RETPROBE_SITE_BYPASS(%rax)

  // Is seen again if a child of clone that ran beside us has gone. (A signal
  // handler may have come to see that in between.)
.Lunseen:  // rax = site, rcx = the guard's offset
  cmpl $0, %fs:RETPROBE_GUARD_BESIDE(%rcx)
  je .Lbypass
  cmpl $0, %fs:RETPROBE_GUARD_CHILD(%rcx)
  jne .Lbypass
  xorl %edx, %edx
  xchgl %edx, %fs:RETPROBE_GUARD_BESIDE(%rcx)
  subl %edx, %fs:RETPROBE_GUARD_UNSEEN(%rcx)
  jmp .Lask_guard

  // The front is empty: from the array.
.Lpop_array:  // rax = site
  movq %rax, -56(%rsp)
.Lpop_array_again:
  BEGIN_POP pop_array
  movq (%rdx), %rcx
  testq %rcx, %rcx
  jle .Lpop_slow
  movq (%rdx, %rcx, 8), %rax
  movq %rsi, RETPROBE_INSTANCE_LIST(%rax)  // releases, as R3 of dispatch.cc
  decq %rcx
  movq %rcx, (%rdx)
.Lpop_array_end:
  STATE HELD, RAX
  movq %rax, %rcx
  jmp .Ltaken

.Lpop_slow:  // rax = site
  STATE NONE
  movq %rax, -56(%rsp)
  BUILD_FRAME
  movq %rax, %rdi
  STATE_IN_CALL SLOW
  call retprobe_take_slow
  STATE HELD, RAX
  movq %rax, %rcx
  STATE HELD, RCX
  DROP_FRAME
  movq -56(%rsp), %rax
  testq %rcx, %rcx
  jz .Lbypass
  movq RETPROBE_INSTANCE_LIST(%rcx), %rsi
  jmp .Ltaken

  // Critical sections begin again. Here, not in a section of their own, because
  // a signal that came inside a critical section is unwound from here.
  STATE NONE
  ABORT pop
  jmp .Lpop_again
  ABORT pop_array
  movq -56(%rsp), %rax
  jmp .Lpop_array_again
  STATE PUSHING, RSI
  ABORT push
  jmp .Lpush_again
  ABORT push_array
  jmp .Lpush_array
  .cfi_endproc

  // A handler of an exception stands in our caller, whom unwinders cannot tell
  // from us: be the frame that is landed on, then be gone as if the caller had
  // called _Unwind_Resume. rax = exception, rbx = UnwindGhost.
  .globl retprobe_landing_pad
  .hidden retprobe_landing_pad
  .cfi_startproc simple
retprobe_landing_pad:
  STATE NONE
  .cfi_def_cfa %rsp, 0
  CFI_RETURN_ADDRESS_IN_INSTANCE
  CFI_RBX_IN_INSTANCE
  endbr64
  pushq RETPROBE_INSTANCE_RETURN_ADDRESS(%rbx)
  .cfi_def_cfa %rsp, 8
  .cfi_offset %rip, -8
  movq %rax, %rdi
  movq RETPROBE_GHOST_RESUME(%rbx), %rax
  movq RETPROBE_INSTANCE_RBX(%rbx), %rbx
  .cfi_same_value %rbx
  jmp *%rax
  .cfi_endproc

  // Where a slow path returns to that a signal handler was about to leave
  // (rethook/slow_path.h). rsp and rbp are as behind its call; rax = its result.
  .cfi_startproc
  .cfi_personality 0x1b, retprobe_personality
  .cfi_def_cfa %rbp, RETPROBE_FRAME_RETURN_ADDRESS + 8
  .cfi_offset %rbp, -16
  STATE SLOW
  nop
  .globl retprobe_finished
  .hidden retprobe_finished
retprobe_finished:
  STATE NONE
  movq %rax, %rdi
  call retprobe_go_on
  ud2
  .cfi_endproc

  .globl retprobe_trampoline_end
  .hidden retprobe_trampoline_end
retprobe_trampoline_end:
  END_STATES
  .size retprobe_entry, . - retprobe_entry

  .section .note.GNU-stack, "", @progbits
