// SPDX-License-Identifier: Apache-2.0
//
// A library that comes and goes while its function is probed.
extern "C" __attribute__((noinline, noclone)) long churn_plugin(long a,
                                                                long b) {
  asm volatile("");
  return 5 * a - b;
}
