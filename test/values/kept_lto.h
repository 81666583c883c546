// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_VALUES_KEPT_LTO_H_
#define RETPROBE_TEST_VALUES_KEPT_LTO_H_

// Hidden, so that the link knows what a call of it runs.
__attribute__((visibility("hidden"))) long KeptCallee(long x);
__attribute__((visibility("hidden"))) long KeptCaller(long seed);

#endif  // RETPROBE_TEST_VALUES_KEPT_LTO_H_
