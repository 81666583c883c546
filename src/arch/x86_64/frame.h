// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_FRAME_H_
#define RETPROBE_ARCH_X86_64_FRAME_H_

// Offsets that trampoline.S shares with C++; src/rethook/instance.h holds the
// structures and checks every number.

// Site
#define RETPROBE_SITE_LIST 8
#define RETPROBE_SITE_BYPASS 16
#define RETPROBE_SITE_MISSED_RECURSION 32

// HandlerList
#define RETPROBE_LIST_MAGAZINES 0
#define RETPROBE_LIST_BODY 8
#define RETPROBE_LIST_FLAGS 16

// Where the handlers are run, with what they change of vector state kept around
// them: of retprobe_entry_paths and retprobe_return_paths.
#define RETPROBE_LIST_ENTRY_PATH 32
#define RETPROBE_LIST_RETURN_PATH 40

// The first handler of a list.
#define RETPROBE_LIST_PROBE 48
#define RETPROBE_LIST_ENTRY_HANDLER 56
#define RETPROBE_LIST_RETURN_HANDLER 64
#define RETPROBE_LIST_ENTRY_USER 72
#define RETPROBE_LIST_RETURN_USER 80

// There is work at entry; at the return.
#define RETPROBE_FLAG_ENTRY 1
#define RETPROBE_FLAG_RETURN 2
// One handler with nothing to count or to save: run without
// retprobe_dispatch_*.
#define RETPROBE_FLAG_SIMPLE 4
// Simple, and the return handler, or the entry handler, changes nothing but
// rax, rcx, rdx, rsi, rdi and flags, and calls nothing that could be probed
// (probe/handler_code.h).
#define RETPROBE_FLAG_LEAF 8
#define RETPROBE_FLAG_ENTRY_LEAF 16
// The same, but also the low 128 bits of vector registers 0..3.
#define RETPROBE_FLAG_LEAF_SSE 32
#define RETPROBE_FLAG_ENTRY_LEAF_SSE 128
// The function is left alone once the entry handlers have run: its return
// address stays where it is.
#define RETPROBE_FLAG_ENTRY_ONLY 64

// ReturnInstance. The first two are read by unwinders through the call frame
// information of the trampoline: below 64, so that each fits one SLEB byte.
#define RETPROBE_INSTANCE_RETURN_ADDRESS 0
#define RETPROBE_INSTANCE_RBX 8
#define RETPROBE_INSTANCE_BODY 16
#define RETPROBE_INSTANCE_FRAME 24
#define RETPROBE_INSTANCE_LIST 32
#define RETPROBE_INSTANCE_RUNNING 40
#define RETPROBE_INSTANCE_ACCEPTED 48
#define RETPROBE_INSTANCE_TOLD 112
#define RETPROBE_INSTANCE_DATA 128

// What the trampoline holds at an instruction, for whoever makes a frame of it
// go away there: kind * 16 + the DWARF number of a register. The register holds
// the instance, or null, unless said otherwise.
#define RETPROBE_STATE_NONE 0
// Nobody has heard of the activation, or everybody of its end.
#define RETPROBE_STATE_HELD 1
// The handlers that accepted it are to be told its end.
#define RETPROBE_STATE_BEGUN 2
// The same; its return address is in the instance. Always rbx.
#define RETPROBE_STATE_CALLED 3
// rbx holds the instance; the register's low byte, whether handlers accepted.
#define RETPROBE_STATE_DECIDED 4
// rbx holds the instance; entry handlers are running; return handlers.
#define RETPROBE_STATE_ENTERING 5
#define RETPROBE_STATE_RETURNING 6
// rdx holds the instance, whose `list` may be gone; the register, where it
// belongs.
#define RETPROBE_STATE_PUSHING 7
// A slow path of C++ is taking an instance or giving one back.
#define RETPROBE_STATE_SLOW 8
// rbx holds an instance, r12 a mask. An entry handler has decided in rax's low
// byte: not 0, and the mask's bits are to be added to `accepted`; a return
// handler has been called: only the mask's bits stay there.
#define RETPROBE_STATE_WANTED 9
#define RETPROBE_STATE_HEARD 10

#define RETPROBE_RAX 0
#define RETPROBE_RDX 1
#define RETPROBE_RCX 2
#define RETPROBE_RBX 3
#define RETPROBE_RSI 4
#define RETPROBE_RDI 5
#define RETPROBE_R12 12

// UnwindGhost: the first two as in ReturnInstance.
#define RETPROBE_GHOST_RESUME 16

// ThreadGuard
#define RETPROBE_GUARD_UNSEEN 4
#define RETPROBE_GUARD_BESIDE 24
#define RETPROBE_GUARD_CHILD 28

// RegisterFrame
#define RETPROBE_FRAME_VECTORS 0
#define RETPROBE_FRAME_R9 24
#define RETPROBE_FRAME_R8 32
#define RETPROBE_FRAME_RDI 40
#define RETPROBE_FRAME_VECTOR_STRIDE 48
#define RETPROBE_FRAME_RETURN_ADDRESS 104

// Vector save area: registers 0..15, 16 bytes each; 0..15 once more, 64 each,
// when more than the low 128 bits are kept; 16..31, up to 64 each; 8 masks;
// which parts are in use, padded to 64.
#define RETPROBE_VECTOR_FULL 256
#define RETPROBE_VECTOR_HIGH 1280
#define RETPROBE_VECTOR_MASKS 2304
#define RETPROBE_VECTOR_NOTE 2368
#define RETPROBE_VECTOR_AREA 2432

#endif  // RETPROBE_ARCH_X86_64_FRAME_H_
