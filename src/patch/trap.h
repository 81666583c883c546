// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_TRAP_H_
#define RETPROBE_PATCH_TRAP_H_

#include <signal.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "patch/entry_patch.h"

namespace retprobe {

// A set of patches that signal handlers can search while it grows: an
// open-addressing table keyed by address. A patch is never taken out, since a
// thread may come to its handler long after the int3 it ran into has gone; a
// later patch of the same address replaces it.
class PatchTable {
 public:
  // Requires: no concurrent Insert.
  void Insert(EntryPatch* patch);

  // Makes room for `more` at once. Tables that were outgrown are never freed.
  // Requires: no concurrent Insert.
  void Reserve(size_t more);

  // The patch whose `address` is `address`, or null. Async-signal-safe.
  const EntryPatch* Find(uintptr_t address) const;

 private:
  struct Slots;
  void Grow(size_t capacity);

  Slots* current_ = nullptr;  // accessed by __atomic operations
  size_t count_ = 0;
};

// Every patch that has ever been armed.
PatchTable& ArmedPatches();

// Makes sure that an int3 at the entry of an armed patch leads to its stub.
// Traps that are not ours go to whoever handled SIGTRAP before. To be called
// before every batch: a program may have set a handler of its own meanwhile.
absl::Status InstallTrapHandler();

// The action that InstallTrapHandler() gives to the kernel.
struct sigaction TrapAction();

// What the program wants to be done about SIGTRAP, as in struct sigaction.
struct ProgramTrap {
  uintptr_t handler = 0;  // or SIG_DFL, SIG_IGN
  uint64_t mask = 0;
  int flags = 0;

  static ProgramTrap Of(const struct sigaction& action);
  void CopyTo(struct sigaction* action) const;  // sa_restorer is left alone
};

// Async-signal-safe, both.
ProgramTrap LoadProgramTrap();
void StoreProgramTrap(const ProgramTrap& trap);

}  // namespace retprobe

#endif  // RETPROBE_PATCH_TRAP_H_
