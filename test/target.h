// SPDX-License-Identifier: Apache-2.0
#ifndef TARGET_H_
#define TARGET_H_

// Begins the definition of a function to be probed: its calls are calls.
#define TARGET extern "C" __attribute__((noinline, noclone))

#endif  // TARGET_H_
