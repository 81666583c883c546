// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_TARGET_H_
#define RETPROBE_BENCH_TARGET_H_

// One function, compiled from one source (target.cc) in several ways; what is
// done to a call of it is what the cases of rethook_bench differ in.
extern "C" {
long TargetPlain(long x);
long TargetPatchable(long x);     // -fpatchable-function-entry
long TargetInstrumented(long x);  // -finstrument-functions
long TargetPush(long x);          // begins with push %rbp
long TargetNop5(long x);          // begins with a 5-byte NOP
long TargetXray(long x);          // clang -fxray-instrument
long TargetHooked(long x);        // begins with a call of bench_enter
long TargetHookedByCall(long x);  // jumps to bench_enter_by_call, and back
}

#endif  // RETPROBE_BENCH_TARGET_H_
