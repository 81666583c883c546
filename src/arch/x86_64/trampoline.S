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

#include "arch/x86_64/frame.h"
#include "arch/x86_64/vectors.inc"
#include "retprobe/arch/x86_64/magazine.h"

#define RSEQ_CPU_ID 4
#define RSEQ_CS 8

// DW_CFA_expression of rip (16), of rbx (3): DW_OP_breg3 (rbx) + offset.
.macro CFI_RETURN_ADDRESS_IN_INSTANCE
  .cfi_escape 0x10, 16, 2, 0x73, RETPROBE_INSTANCE_RETURN_ADDRESS
.endm

.macro CFI_RBX_IN_INSTANCE
  .cfi_escape 0x10, 3, 2, 0x73, RETPROBE_INSTANCE_RBX
.endm

.set .LNONE, RETPROBE_STATE_NONE
.set .LHELD, RETPROBE_STATE_HELD
.set .LBEGUN, RETPROBE_STATE_BEGUN
.set .LCALLED, RETPROBE_STATE_CALLED
.set .LDECIDED, RETPROBE_STATE_DECIDED
.set .LENTERING, RETPROBE_STATE_ENTERING
.set .LRETURNING, RETPROBE_STATE_RETURNING
.set .LPUSHING, RETPROBE_STATE_PUSHING
.set .LSLOW, RETPROBE_STATE_SLOW
.set .LRAX, RETPROBE_RAX
.set .LRDX, RETPROBE_RDX
.set .LRCX, RETPROBE_RCX
.set .LRBX, RETPROBE_RBX
.set .LRSI, RETPROBE_RSI
.set .LRDI, RETPROBE_RDI

// From here on the trampoline holds this (frame.h, RETPROBE_STATE_*).
.macro STATE kind, register=RAX, offset=0
77:
  .pushsection .rodata.retprobe_states, "a"
  .long 77b + \offset - retprobe_entry
  .long .L\kind * 16 + .L\register
  .popsection
.endm

// While the call that follows is under way. Who is interrupted before it still
// has the state before.
.macro STATE_IN_CALL kind
  STATE \kind, RBX, 1
.endm

// Around handlers: `phase` is ENTERING or RETURNING.
.macro STATE_BEFORE phase
  .ifc \phase, ENTERING
  STATE HELD, RBX
  .else
  STATE BEGUN, RBX
  .endif
.endm

.macro STATE_AFTER phase, result
  .ifc \phase, ENTERING
  STATE DECIDED, \result
  .else
  STATE HELD, RBX
  .endif
.endm

// Completes a RegisterFrame at (%rbp) from rsp = CFA - 8, where rax, rcx, rdx
// and rsi have been stored below; rsp is then aligned to 64.
.macro BUILD_FRAME
  movq %rbp, -8(%rsp)
  .cfi_offset %rbp, -16
  leaq -56(%rsp), %rsp
  .cfi_adjust_cfa_offset 56
  .irp r, rdi, r8, r9, r10, r11
  pushq %\r
  .cfi_adjust_cfa_offset 8
  .endr
  pushq $0
  .cfi_adjust_cfa_offset 8
  movq %rsp, %rbp
  .cfi_def_cfa_register %rbp
  andq $-64, %rsp
.endm

.macro DROP_FRAME
  movq %rbp, %rsp
  .cfi_def_cfa_register %rsp
  leaq 8(%rsp), %rsp
  .cfi_adjust_cfa_offset -8
  .irp r, r11, r10, r9, r8, rdi
  popq %\r
  .cfi_adjust_cfa_offset -8
  .endr
  leaq 56(%rsp), %rsp
  .cfi_adjust_cfa_offset -56
  movq -8(%rsp), %rbp
  .cfi_restore %rbp
.endm

// Calls `handler` of the one probe of the list in rsi, unless the probe is dead,
// with a context on the stack: instance, frame, data, reason 0. The thread is
// marked and the instance says which probe's handler is running, as
// rethook/dispatch.cc does for many. Result in al, 0 if not called.
.macro CALL_HANDLER handler, user, phase
  STATE_BEFORE \phase
  movq RETPROBE_LIST_PROBE(%rsi), %rcx
  movq retprobe_guard@gottpoff(%rip), %rdx
  xorl %eax, %eax
  incq %fs:(%rdx)  // as wide as it is tested: a store shorter than the load stalls it
  movq %rbx, %fs:8(%rdx)
  movq %rcx, RETPROBE_INSTANCE_RUNNING(%rbx)  // as R0 and S3 of dispatch.cc
  cmpb $0, (%rcx)
  jne 9f
  leaq RETPROBE_INSTANCE_DATA(%rbx), %rcx
  pushq $0
  pushq %rcx
  pushq %rbp
  pushq %rbx
  movq \user(%rsi), %rdi
  movq \handler(%rsi), %rcx
  movq %rsp, %rsi
  STATE_IN_CALL \phase
  call *%rcx
  STATE_AFTER \phase, RAX
  leaq 32(%rsp), %rsp
9:
  movq retprobe_guard@gottpoff(%rip), %rdx
  movq $0, RETPROBE_INSTANCE_RUNNING(%rbx)  // as R1 of dispatch.cc
  decq %fs:(%rdx)
.endm

// Runs the handlers of the list of the instance in rbx through C++.
.macro DISPATCH function, phase
  STATE_BEFORE \phase
  movq %rbx, %rdi
  movq %rbp, %rsi
  .ifc \phase, ENTERING
  movq $0, RETPROBE_INSTANCE_ACCEPTED(%rbx)
  .endif
  STATE_IN_CALL \phase
  call \function
  STATE_AFTER \phase, RAX
  .ifc \phase, RETURNING
  movl $0, RETPROBE_INSTANCE_TOLD(%rbx)
  .endif
.endm

// Every way of keeping vector registers there is, in VectorClass's order
// (rethook/trampoline.h): for each `path`, with what is to be saved and whether
// that takes room.
.macro FOR_EACH_CLASS path
  \path NONE, 0
  \path SSE_FEW, 1
  \path SSE, 1
  \path AVX, 1
  \path FEW, 1
  \path LOW, 1
  \path HIGH, 1
  \path ALL, 1
  \path ALL_F, 1
.endm

.macro SAVE_CLASS class, area
  .if \area
  subq $RETPROBE_VECTOR_AREA, %rsp
  movq %rsp, %rdi
  RETPROBE_SAVE_\class
  .endif
.endm

.macro RESTORE_CLASS class, area
  .if \area
  movq %rsp, %rdi
  RETPROBE_RESTORE_\class
  .endif
.endm

// Calls `handler` of the one probe of the list in rsi, with its context at (%rsp)
// and its RegisterFrame, of which rdi is to be put in place, `frame` above.
.macro CALL_LEAF handler, user, frame, phase
  movq %rdi, (\frame + RETPROBE_FRAME_RDI)(%rsp)
  movq $0, 24(%rsp)
  leaq RETPROBE_INSTANCE_DATA(%rbx), %rcx
  leaq \frame(%rsp), %rdi
  movq %rbx, (%rsp)
  movq %rcx, 16(%rsp)
  movq %rdi, 8(%rsp)
  movq \handler(%rsi), %rcx
  movq \user(%rsi), %rdi
  movq %rsp, %rsi
  STATE_IN_CALL \phase
  call *%rcx
  STATE_AFTER \phase, RAX
  movq (\frame + RETPROBE_FRAME_RDI)(%rsp), %rdi
.endm

// Vector registers 0..3 around CALL_LEAF, between its context and its
// RegisterFrame, which is 96 above rsp.
.macro SAVE_LEAF_SSE
  leaq 32(%rsp), %rcx
  movq %rcx, (96 + RETPROBE_FRAME_VECTORS)(%rsp)
  movq $16, (96 + RETPROBE_FRAME_VECTOR_STRIDE)(%rsp)
  .irp r, 0,1,2,3
  movaps %xmm\r, (32 + \r * 16)(%rsp)
  .endr
.endm

.macro RESTORE_LEAF_SSE
  .irp r, 0,1,2,3
  movaps (32 + \r * 16)(%rsp), %xmm\r
  .endr
.endm

  .section .rodata.retprobe_states, "a"
  .balign 8
  .globl retprobe_states
  .hidden retprobe_states
retprobe_states:

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
  movq retprobe_guard@gottpoff(%rip), %rcx
  cmpq $0, %fs:(%rcx)
  jne .Lrecursion
.Lpop_again:  // rax = site
  movq retprobe_rseq_offset(%rip), %rdx
  leaq .Lpop_cs(%rip), %rcx
  movq %rcx, %fs:RSEQ_CS(%rdx)
.Lpop_start:
  movq RETPROBE_SITE_LIST(%rax), %rsi  // acquires, as A0 of dispatch.cc
  movl %fs:RSEQ_CPU_ID(%rdx), %edx
  movq RETPROBE_LIST_MAGAZINES(%rsi), %rcx
  cmpw RETPROBE_MAGAZINE_HEADER_STATE(%rcx), %dx
  jae .Lpop_slow
  shlq $RETPROBE_MAGAZINE_SHIFT, %rdx
  addq %rcx, %rdx
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
  movq retprobe_rseq_offset(%rip), %rcx
  leaq .Lpush_cs(%rip), %rax
  movq %rax, %fs:RSEQ_CS(%rcx)
.Lpush_start:
  movl %fs:RSEQ_CPU_ID(%rcx), %eax
  cmpw RETPROBE_MAGAZINE_HEADER_STATE(%rsi), %ax
  jae .Lpush_slow
  shlq $RETPROBE_MAGAZINE_SHIFT, %rax
  addq %rsi, %rax
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

  // The handler leaves r8..r11 and the vector registers alone and calls
  // nothing: no alignment, no mark on the thread.
.Lreturn_handlers:  // rdx = instance, rsi = list
  STATE BEGUN, RDX
  movq %rbx, -16(%rsp)
  movq %rdx, %rbx
  .cfi_offset %rbx, -24
  STATE BEGUN, RBX
  testb $RETPROBE_FLAG_LEAF, RETPROBE_LIST_FLAGS(%rsi)
  jz .Lreturn_more
  movq RETPROBE_LIST_PROBE(%rsi), %rcx
  movq %rcx, RETPROBE_INSTANCE_RUNNING(%rbx)  // as R0 and S3 of dispatch.cc
  cmpb $0, (%rcx)
  jne .Lhandled
  leaq -136(%rsp), %rsp
  .cfi_adjust_cfa_offset 136
  movq $0, (32 + RETPROBE_FRAME_VECTORS)(%rsp)
  CALL_LEAF RETPROBE_LIST_RETURN_HANDLER, RETPROBE_LIST_RETURN_USER, 32, \
    RETURNING
  leaq 136(%rsp), %rsp
  .cfi_adjust_cfa_offset -136
.Lhandled:
  movq %rbx, %rdx
  movq RETPROBE_INSTANCE_LIST(%rbx), %rsi
  movq $0, RETPROBE_INSTANCE_RUNNING(%rbx)  // as R1 of dispatch.cc
  movq -16(%rsp), %rbx
  STATE HELD, RDX
  jmp .Lgive_back

  // The same around a handler that changes vector registers 0..3, which are kept
  // between its context and its RegisterFrame. It may want the stack aligned,
  // which callers in assembly may not have seen to.
.Lreturn_more:
  STATE BEGUN, RBX
  testb $RETPROBE_FLAG_LEAF_SSE, RETPROBE_LIST_FLAGS(%rsi)
  jz .Lreturn_general
  leaq -200(%rsp), %rcx
  testb $15, %cl
  jnz .Lreturn_general
  movq RETPROBE_LIST_PROBE(%rsi), %rcx
  movq %rcx, RETPROBE_INSTANCE_RUNNING(%rbx)
  cmpb $0, (%rcx)
  jne .Lhandled
  .cfi_remember_state
  leaq -200(%rsp), %rsp
  .cfi_adjust_cfa_offset 200
  SAVE_LEAF_SSE
  CALL_LEAF RETPROBE_LIST_RETURN_HANDLER, RETPROBE_LIST_RETURN_USER, 96, \
    RETURNING
  RESTORE_LEAF_SSE
  leaq 200(%rsp), %rsp
  .cfi_adjust_cfa_offset -200
  jmp .Lhandled
  .cfi_restore_state

.Lreturn_general:  // rbx = instance, rsi = list
  STATE BEGUN, RBX
  jmp *RETPROBE_LIST_RETURN_PATH(%rsi)

.macro RETURN_PATH class, area
  .cfi_remember_state
.Lreturn_\class:
  STATE BEGUN, RBX
  endbr64
  BUILD_FRAME
  SAVE_CLASS \class, \area
  testb $RETPROBE_FLAG_SIMPLE, RETPROBE_LIST_FLAGS(%rsi)
  jz 8f
  CALL_HANDLER RETPROBE_LIST_RETURN_HANDLER, RETPROBE_LIST_RETURN_USER, \
    RETURNING
7:
  RESTORE_CLASS \class, \area
  .cfi_remember_state
  DROP_FRAME
  jmp .Lhandled
  .cfi_restore_state
8:
  DISPATCH retprobe_dispatch_return, RETURNING
  jmp 7b
  .cfi_restore_state
.endm
  FOR_EACH_CLASS RETURN_PATH
  .cfi_same_value %rbx

  // The front is taken: into the array.
.Lpush_array:  // rdx = instance, rsi = magazines
  STATE PUSHING, RSI
  movq retprobe_rseq_offset(%rip), %rcx
  leaq .Lpush_array_cs(%rip), %rax
  movq %rax, %fs:RSEQ_CS(%rcx)
.Lpush_array_start:
  movl %fs:RSEQ_CPU_ID(%rcx), %eax
  cmpw RETPROBE_MAGAZINE_HEADER_STATE(%rsi), %ax
  jae .Lpush_slow
  shlq $RETPROBE_MAGAZINE_SHIFT, %rax
  addq %rsi, %rax
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
.Lentry_handlers:  // rbx = instance, rsi = list
  STATE HELD, RBX
  testb $RETPROBE_FLAG_ENTRY_LEAF, RETPROBE_LIST_FLAGS(%rsi)
  jz .Lentry_more
  movq RETPROBE_LIST_PROBE(%rsi), %rcx
  movq %rcx, RETPROBE_INSTANCE_RUNNING(%rbx)  // as R0 and S3 of dispatch.cc
  cmpb $0, (%rcx)
  jne .Lentry_dead
  leaq -136(%rsp), %rsp
  .cfi_adjust_cfa_offset 136
  movq $0, (32 + RETPROBE_FRAME_VECTORS)(%rsp)
  movq %r8, (32 + RETPROBE_FRAME_R8)(%rsp)
  movq %r9, (32 + RETPROBE_FRAME_R9)(%rsp)
  CALL_LEAF RETPROBE_LIST_ENTRY_HANDLER, RETPROBE_LIST_ENTRY_USER, 32, \
    ENTERING
  movq (32 + RETPROBE_FRAME_R8)(%rsp), %r8
  movq (32 + RETPROBE_FRAME_R9)(%rsp), %r9
  leaq 136(%rsp), %rsp
  .cfi_adjust_cfa_offset -136
.Lentry_handled:  // al = wanted
  movq $0, RETPROBE_INSTANCE_RUNNING(%rbx)  // as R1 of dispatch.cc
  testb %al, %al
  jnz .Lcall_body
  jmp .Ldeclined
.Lentry_dead:
  STATE HELD, RBX
  movq $0, RETPROBE_INSTANCE_RUNNING(%rbx)
  jmp .Ldeclined

  // As .Lreturn_more.
.Lentry_more:
  testb $RETPROBE_FLAG_ENTRY_LEAF_SSE, RETPROBE_LIST_FLAGS(%rsi)
  jz .Lentry_general
  leaq -200(%rsp), %rcx
  testb $15, %cl
  jnz .Lentry_general
  movq RETPROBE_LIST_PROBE(%rsi), %rcx
  movq %rcx, RETPROBE_INSTANCE_RUNNING(%rbx)
  cmpb $0, (%rcx)
  jne .Lentry_dead
  .cfi_remember_state
  leaq -200(%rsp), %rsp
  .cfi_adjust_cfa_offset 200
  movq %r8, (96 + RETPROBE_FRAME_R8)(%rsp)
  movq %r9, (96 + RETPROBE_FRAME_R9)(%rsp)
  SAVE_LEAF_SSE
  CALL_LEAF RETPROBE_LIST_ENTRY_HANDLER, RETPROBE_LIST_ENTRY_USER, 96, \
    ENTERING
  RESTORE_LEAF_SSE
  movq (96 + RETPROBE_FRAME_R8)(%rsp), %r8
  movq (96 + RETPROBE_FRAME_R9)(%rsp), %r9
  leaq 200(%rsp), %rsp
  .cfi_adjust_cfa_offset -200
  jmp .Lentry_handled
  .cfi_restore_state

.Lentry_general:
  STATE HELD, RBX
  jmp *RETPROBE_LIST_ENTRY_PATH(%rsi)

.macro ENTRY_PATH class, area
  .cfi_remember_state
.Lentry_\class:
  STATE HELD, RBX
  endbr64
  BUILD_FRAME
  SAVE_CLASS \class, \area
  testb $RETPROBE_FLAG_SIMPLE, RETPROBE_LIST_FLAGS(%rsi)
  jz 8f
  CALL_HANDLER RETPROBE_LIST_ENTRY_HANDLER, RETPROBE_LIST_ENTRY_USER, ENTERING
7:
  RESTORE_CLASS \class, \area
  movl %eax, %ecx
  STATE DECIDED, RCX
  .cfi_remember_state
  DROP_FRAME
  testb %cl, %cl
  jnz .Lcall_body
  jmp .Ldeclined
  .cfi_restore_state
8:
  DISPATCH retprobe_dispatch_entry, ENTERING
  jmp 7b
  .cfi_restore_state
.endm
  FOR_EACH_CLASS ENTRY_PATH

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

  .cfi_startproc
  .cfi_personality 0x1b, retprobe_personality
.Lrecursion:  // rax = site, rcx = the guard's offset
  cmpl $0, %fs:4(%rcx)  // ThreadGuard::unseen: nobody's misses
  jne .Lbypass
  lock incq RETPROBE_SITE_MISSED_RECURSION(%rax)
.Lbypass:  // rax = site
  movq -32(%rsp), %rcx
  movq -40(%rsp), %rdx
  movq -48(%rsp), %rsi
  jmp *RETPROBE_SITE_BYPASS(%rax)

  // The front is empty: from the array.
.Lpop_array:  // rax = site
  movq %rax, -56(%rsp)
.Lpop_array_again:
  movq retprobe_rseq_offset(%rip), %rdx
  leaq .Lpop_array_cs(%rip), %rcx
  movq %rcx, %fs:RSEQ_CS(%rdx)
.Lpop_array_start:
  movq RETPROBE_SITE_LIST(%rax), %rsi  // acquires, as A0 of dispatch.cc
  movl %fs:RSEQ_CPU_ID(%rdx), %edx
  movq RETPROBE_LIST_MAGAZINES(%rsi), %rcx
  cmpw RETPROBE_MAGAZINE_HEADER_STATE(%rcx), %dx
  jae .Lpop_slow
  shlq $RETPROBE_MAGAZINE_SHIFT, %rdx
  addq %rcx, %rdx
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

  // Where the kernel sends a thread that was preempted, moved or signalled
  // inside a critical section: begin again. The signature stands before. Here,
  // not in a section of their own, because a signal that came inside a critical
  // section is unwound from here.
  STATE NONE
  .byte 0x0f, 0xb9, 0x3d
  .long 0x53053053
.Lpop_abort:
  jmp .Lpop_again
  .byte 0x0f, 0xb9, 0x3d
  .long 0x53053053
.Lpop_array_abort:
  movq -56(%rsp), %rax
  jmp .Lpop_array_again
  STATE PUSHING, RSI
  .byte 0x0f, 0xb9, 0x3d
  .long 0x53053053
.Lpush_abort:
  jmp .Lpush_again
  .byte 0x0f, 0xb9, 0x3d
  .long 0x53053053
.Lpush_array_abort:
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
  .pushsection .rodata.retprobe_states, "a"
  .globl retprobe_states_end
  .hidden retprobe_states_end
retprobe_states_end:
  .popsection
  .size retprobe_entry, . - retprobe_entry

  .pushsection __rseq_cs, "aw"
  .irp section, pop, pop_array, push, push_array
  .balign 32
.L\section\()_cs:
  .long 0, 0
  .quad .L\section\()_start, .L\section\()_end - .L\section\()_start
  .quad .L\section\()_abort
  .endr
  .popsection

  // Indexed by VectorClass.
  .section .data.rel.ro, "aw"
  .balign 8
.macro ENTRY_ADDRESS class, area
  .quad .Lentry_\class
.endm
.macro RETURN_ADDRESS class, area
  .quad .Lreturn_\class
.endm
  .globl retprobe_entry_paths
  .hidden retprobe_entry_paths
retprobe_entry_paths:
  FOR_EACH_CLASS ENTRY_ADDRESS
  .globl retprobe_return_paths
  .hidden retprobe_return_paths
retprobe_return_paths:
  FOR_EACH_CLASS RETURN_ADDRESS

  .section .note.GNU-stack, "", @progbits
