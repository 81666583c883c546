// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_ARCH_H_
#define RETPROBE_ARCH_ARCH_H_

// The only place that asks which architecture this is.
#if defined(__x86_64__)
#include "arch/x86_64/frame.h"
#include "arch/x86_64/jump_buffer.h"
#include "arch/x86_64/rseq.h"
#include "arch/x86_64/slot.h"
#include "arch/x86_64/syscall.h"
#else
#error "no return trampoline for this architecture; see src/README.md, Porting"
#endif

#endif  // RETPROBE_ARCH_ARCH_H_
