// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_FRAME_H_
#define RETPROBE_ARCH_X86_64_FRAME_H_

// Offsets that trampoline.S shares with C++; src/rethook/instance.h holds the
// structures and checks every number.

// Site
#define RETPROBE_SITE_ENTRY 0
#define RETPROBE_SITE_LIST 8
#define RETPROBE_SITE_BYPASS 16
#define RETPROBE_SITE_MISSED_EMPTY 24
#define RETPROBE_SITE_MISSED_RECURSION 32
#define RETPROBE_SITE_MISSED_DYING 40

// HandlerList
#define RETPROBE_LIST_MAGAZINES 0
#define RETPROBE_LIST_BODY 8
#define RETPROBE_LIST_FLAGS 16

// The first handler of a list.
#define RETPROBE_LIST_PROBE 40
#define RETPROBE_LIST_ENTRY_HANDLER 48
#define RETPROBE_LIST_RETURN_HANDLER 56
#define RETPROBE_LIST_ENTRY_USER 64
#define RETPROBE_LIST_RETURN_USER 72

// There is work at entry; at the return.
#define RETPROBE_FLAG_ENTRY 1
#define RETPROBE_FLAG_RETURN 2
// One handler with nothing to count or to save: run without
// retprobe_dispatch_*.
#define RETPROBE_FLAG_SIMPLE 4
// Handlers may change the low 128 bits of vector registers (SSE code), of more
// than 0..3; anything.
#define RETPROBE_FLAG_SSE 8
#define RETPROBE_FLAG_SSE_MANY 64
#define RETPROBE_FLAG_VECTORS 16
// Simple, and the return handler changes nothing but rax, rcx, rdx, rsi, rdi
// and flags, and calls nothing (probe/handler_code.h).
#define RETPROBE_FLAG_LEAF 32
// The same, but vector registers 0..3 as with RETPROBE_FLAG_SSE.
#define RETPROBE_FLAG_LEAF_SSE 128

// ReturnInstance. The first two are read by unwinders through the call frame
// information of the trampoline: below 64, so that each fits one SLEB byte.
#define RETPROBE_INSTANCE_RETURN_ADDRESS 0
#define RETPROBE_INSTANCE_RBX 8
#define RETPROBE_INSTANCE_BODY 16
#define RETPROBE_INSTANCE_FRAME 24
#define RETPROBE_INSTANCE_LIST 32
#define RETPROBE_INSTANCE_RUNNING 40
#define RETPROBE_INSTANCE_DATA 128

// UnwindGhost: the first two as in ReturnInstance.
#define RETPROBE_GHOST_RESUME 16

// RegisterFrame
#define RETPROBE_FRAME_VECTORS 0
#define RETPROBE_FRAME_RDI 40
#define RETPROBE_FRAME_RBP 96
#define RETPROBE_FRAME_RETURN_ADDRESS 104

// Vector save area: 32 registers of 64 bytes, then 8 mask registers of 8.
#define RETPROBE_VECTOR_MASKS 2048
// ... then one word: are upper halves in use, padded to 64.
#define RETPROBE_VECTOR_AREA 2176

#endif  // RETPROBE_ARCH_X86_64_FRAME_H_
