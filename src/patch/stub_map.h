// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_STUB_MAP_H_
#define RETPROBE_PATCH_STUB_MAP_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "patch/entry_patch.h"

namespace retprobe {

// Which stub an address lies in, for signal handlers, while stubs are added: an
// open-addressing table of the places where stubs begin. Stubs stay for ever,
// and so does what is in here.
class StubMap {
 public:
  // Requires: no concurrent Insert; `patch` is complete.
  void Insert(const EntryPatch* patch);

  // Makes room for `more` at once. Tables that were outgrown are never freed.
  // Requires: no concurrent Insert.
  void Reserve(size_t more);

  // The patch whose stub `pc` is in, or null. Async-signal-safe.
  const EntryPatch* Find(uintptr_t pc) const;

 private:
  struct Slots;
  void Grow(size_t capacity);

  std::atomic<Slots*> current_{nullptr};
  size_t count_ = 0;
};

// Every stub of the process.
StubMap& Stubs();

// The place in a patched function where frames are laid out as at `pc` in its
// stub, so that the function's own unwind table serves both; 0 when `pc` is in
// no stub. Async-signal-safe.
uintptr_t OriginalPlace(uintptr_t pc);

}  // namespace retprobe

#endif  // RETPROBE_PATCH_STUB_MAP_H_
