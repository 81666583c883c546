// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_VALUES_KEPT_ACROSS_H_
#define RETPROBE_TEST_VALUES_KEPT_ACROSS_H_

#include <string>

// The registers that calls may change by the ABI and that the code at `caller`
// reads behind its first call without having written them there: it keeps
// values in them across the call. Names, each with a space behind. Nothing of
// `callee` may have been patched.
std::string KeptAcross(const void* caller, const void* callee);

#endif  // RETPROBE_TEST_VALUES_KEPT_ACROSS_H_
