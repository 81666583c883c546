// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_INSTRUMENTED_H_
#define RETPROBE_BENCH_INSTRUMENTED_H_

// What -finstrument-functions calls: empty, in this program, not in a library
// behind a PLT.
extern "C" {
void __cyg_profile_func_enter(void* function, void* call_site);
void __cyg_profile_func_exit(void* function, void* call_site);
}

#endif  // RETPROBE_BENCH_INSTRUMENTED_H_
