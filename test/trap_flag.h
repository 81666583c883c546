// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_TRAP_FLAG_H_
#define RETPROBE_TEST_TRAP_FLAG_H_

#include <sys/types.h>
#include <ucontext.h>

namespace retprobe::test {

// Has every instruction from here on end with a SIGTRAP, until its handler
// calls StopStepping.
inline void SetTrapFlag() {
  asm volatile(
      "lea -128(%%rsp), %%rsp\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
      "lea 128(%%rsp), %%rsp"
      :
      :
      : "memory", "cc");
}

inline void StopStepping(void* context) {
  constexpr greg_t kTrapFlag = 0x100;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kTrapFlag;
}

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_TRAP_FLAG_H_
