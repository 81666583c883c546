// SPDX-License-Identifier: Apache-2.0
//
// Exceptions that signal handlers throw out of the interrupted code, as
// runtimes do for null pointers: from the function, and from its first
// instructions, which run in a stub.
#include <signal.h>

#include <atomic>

#include "flow/flow.h"

asm(R"(
  .text
  .globl fault_first, fault_second
  .type fault_first, @function
fault_first:
  .cfi_startproc
  mov (%rdi), %rax
  add $1, %rax
  ret
  .cfi_endproc
  .size fault_first, . - fault_first
  .type fault_second, @function
fault_second:
  .cfi_startproc
  push %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_offset %rbx, -16
  xor %ebx, %ebx
  mov (%rdi), %rax
  pop %rbx
  .cfi_adjust_cfa_offset -8
  .cfi_restore %rbx
  ret
  .cfi_endproc
  .size fault_second, . - fault_second
)");
extern "C" long fault_first(const long* pointer);
extern "C" long fault_second(const long* pointer);

FLOW_TARGET long fault_later(const long* pointer) {
  long value = 1;
  asm volatile("add (%1), %0" : "+r"(value) : "r"(pointer) : "memory", "cc");
  return value;
}

namespace {

struct Fault {};

void OnFault(int) { throw Fault(); }

// Keeps something in a register that the callee must keep.
long Caught(long (*function)(const long*), long kept) {
  long result = 0;
  asm volatile("" : "+r"(kept));
  try {
    result = function(nullptr);
  } catch (const Fault&) {
    result = kept;
  }
  return result;
}

TEST_CASE("a fault is thrown out of any instruction, also one that was moved") {
  struct sigaction action = {};
  struct sigaction before;
  action.sa_handler = OnFault;
  action.sa_flags = SA_NODEFER;
  sigaction(SIGSEGV, &action, &before);
  std::atomic<long> wrong{0};
  const long ten = 10;
  for (auto* function : {&fault_first, &fault_second, &fault_later}) {
    flow::WatchEnds({flow::Address(function)}, 20, 1, 1, [&](int) {
      wrong += Caught(function, 1234) != 1234;
      wrong += function(&ten) < 10;
    });
  }
  sigaction(SIGSEGV, &before, nullptr);
  CHECK(wrong == 0);
}

}  // namespace
