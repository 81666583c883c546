// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_LOADER_HOOK_H_
#define RETPROBE_AGENT_LOADER_HOOK_H_

#include "absl/status/status.h"

namespace retprobe::agent {

// Has `modules_changed` called in a thread that loads modules (dlopen), with
// the loader's lock held: when they are mapped and relocated, before their
// constructors run. Also called when nothing changed.
//
// How: glibc runs constructors through _dl_catch_exception with a null first
// argument; the entry of that function (the dynamic linker has one, libc
// another, and which is used is a matter of symbol binding) is patched. The
// documented place, r_debug.r_brk, is no use: it is reached before
// relocation, when resolvers of indirect functions must not be called yet.
//
// Errors: when that function is not there or cannot be patched.
absl::Status HookLoader(void (*modules_changed)());

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_LOADER_HOOK_H_
