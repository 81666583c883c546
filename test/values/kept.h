// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_VALUES_KEPT_H_
#define RETPROBE_TEST_VALUES_KEPT_H_

// A function that changes few registers, and a caller that is compiled together
// with it and may therefore keep values in the others across the call: in one
// translation unit (-fipa-ra), and by link-time optimization.
struct KeptCase {
  void* callee;
  void* caller;
  long (*call)(long seed);  // of the caller; what it returns for `seed`:
  long (*expected)(long seed);
};

extern "C" KeptCase kept_in_unit();
extern "C" KeptCase kept_by_lto();

#endif  // RETPROBE_TEST_VALUES_KEPT_H_
