// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_FRAME_FINDER_H_
#define RETPROBE_PROBE_FRAME_FINDER_H_

namespace retprobe {

// libgcc's unwinder asks its own _Unwind_Find_FDE for the unwind information of
// every frame. Code that is made while a program runs has none: a signal that
// comes in a stub, or in the instructions that were moved there (a null pointer
// read by a function's first instruction, say), would show no caller.
//
// What replaces the function asks for the place in the probed function that the
// one in the stub corresponds to, and has the answer's beginning moved by as
// much. No tables are made, no lock is taken. __register_frame is no way: with
// anything registered libgcc 12 takes a lock for every frame that is unwound,
// in signal handlers too.
//
// Not for LLVM's and nongnu's unwinders, which keep this to themselves, nor for
// a static copy of libgcc's.

// libgcc's function, or null while libgcc_s is not loaded.
void* FrameFinder();

// The replacement, which runs `original` for all other code.
const void* ReplaceFrameFinder(const void* original);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_FRAME_FINDER_H_
