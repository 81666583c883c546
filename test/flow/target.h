// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_FLOW_TARGET_H_
#define RETPROBE_TEST_FLOW_TARGET_H_

// A function that is called as it is written.
#ifdef __clang__
#define FLOW_TARGET extern "C" __attribute__((noinline))
#else
#define FLOW_TARGET extern "C" __attribute__((noipa))
#endif

// Keeps calls before it from becoming jumps.
#define FLOW_NO_TAIL_CALL asm volatile("")

#endif  // RETPROBE_TEST_FLOW_TARGET_H_
