// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PATCH_ENTRIES_H_
#define RETPROBE_TEST_PATCH_ENTRIES_H_

// Functions with entries of every kind, written in entries.cc.
extern "C" {

// What the entries refer to.
extern int entry_data;                      // 1000 at first
extern long (*entry_callee_pointer)(long);  // entry_callee
long entry_callee(long value);              // calls entry_hook(value) if set
extern long (*entry_hook)(long);

// Can be patched. Each computes something of its arguments.
long entry_patchable(long a, long b);
long entry_push(long a, long b);
long entry_endbr(long a, long b);
long entry_lea_rip(long a, long b);
long entry_load_rip(long a, long b);
long entry_compare_rip(long a, long b);
long entry_short_condition(long a, long b);
long entry_two_conditions(long a, long b);
long entry_near_condition(long a, long b);
long entry_jrcxz(long a, long b);
long entry_loop(long a, long b);
long entry_short_jump(long a, long b);
long entry_tail_jump(long a, long b);
long entry_tail_jump_memory(long a, long b);
long entry_call(long a, long b);
long entry_call_memory(long a, long b);
long entry_call_register(long a, long b);
long entry_nop5(long a, long b);
long entry_nops(long a, long b);
long entry_mixed_nops(long a, long b);
long entry_nop3(long a, long b);
long entry_endbr_nops(long a, long b);
long entry_padded_one(long a, long b);
long entry_padded_three(long a, long b);
long entry_padded_int3(long a, long b);
long entry_late_system_call(long a, long b);
long entry_loop_behind_five(long a, long b);
long entry_scan(const char* begin, const char* end);  // see entries.cc
long entry_read(const long* pointer, long b);         // faults at +1

// Branched into, to the first instruction or behind it.
long entry_loop_into_itself(long a, long b);
long entry_loop_to_first(long a, long b);
long entry_endbr_loop(long a, long b);
long entry_retry(long a, long b);
long entry_far_branch_target(long a, long b);
long entry_far_branch_source(long a, long b);
long entry_shared(long a, long b);
long entry_sharing(long a, long b);  // begins with the branch into that

// By int3 only.
long entry_unpadded_one(long a, long b);  // returns what was in rax
long entry_before_nops(long a, long b);   // likewise
long entry_early_system_call(long a, long b);
long entry_breakpoint(long a, long b);                 // traps by itself
long entry_early_call(long (**callee)(long), long b);  // 3 bytes from it
long entry_runs_on(long a, long b);
long entry_tight(long a, long b);

// Its endbr64 has to go with the rest.
long entry_endbr_call(long (**callee)(long), long b);

// Must be refused.
long entry_breakpoint_first(long a, long b);
long entry_eip(long a, long b);
}

#endif  // RETPROBE_TEST_PATCH_ENTRIES_H_
