// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_MAGAZINE_H_
#define RETPROBE_ARCH_MAGAZINE_H_

// The pool's fast path, inlined into its users. Not an interface: use ObjPool.
#if defined(__x86_64__)
#include "retprobe/arch/x86_64/magazine.h"
#else
#error "no fast path for this architecture"
#endif

#endif  // RETPROBE_ARCH_MAGAZINE_H_
