// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ADAPTERS_FENTRY_H_
#define RETPROBE_ADAPTERS_FENTRY_H_

#include "retprobe/rethook.h"

// For code compiled with -pg -mfentry (GCC, clang): each function begins with a
// call of __fentry__, which one source file of the program defines by this, at
// namespace scope. That file is itself compiled without -pg:
//
//   extern "C" void at_entry(void** return_address, void* function) noexcept {
//     if (retprobe::Rethook::Instance* instance = rethook->TryGet()) {
//       rethook->Hook(instance, return_address, function);
//     }
//   }
//   RETPROBE_DEFINE_FENTRY(at_entry);
//
// `return_address` is the place of the function's return address, `function` is
// where the function goes on, behind its call of __fentry__.
//
// The handler may use any register: __fentry__ keeps all but flags, vector
// registers in full. It runs at the entry of every function compiled so, in all
// threads and in signal handlers, once a Rethook has been created in the
// process. What it calls must not be compiled with -pg, or it would call
// itself: give that
// __attribute__((no_instrument_function)). No exception may leave it.
//
// Functions that are inlined have no entry. x86-64 only.
#define RETPROBE_DEFINE_FENTRY(handler)       \
  asm(".pushsection .text\n"                  \
      ".globl __fentry__\n"                   \
      ".type __fentry__, @function\n"         \
      ".balign 16\n"                          \
      "__fentry__:\n"                         \
      ".cfi_startproc\n"                      \
      "endbr64\n"                             \
      "pushq " #handler                       \
      "@GOTPCREL(%rip)\n"                     \
      ".cfi_adjust_cfa_offset 8\n"            \
      "jmp *retprobe_fentry@GOTPCREL(%rip)\n" \
      ".cfi_endproc\n"                        \
      ".size __fentry__, . - __fentry__\n"    \
      ".popsection\n")

extern "C" {
// Only for RETPROBE_DEFINE_FENTRY to jump to.
RETPROBE_API void retprobe_fentry();
}

#endif  // RETPROBE_ADAPTERS_FENTRY_H_
