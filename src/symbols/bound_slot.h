// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_BOUND_SLOT_H_
#define RETPROBE_SYMBOLS_BOUND_SLOT_H_

#include <cstdint>

namespace retprobe {

// The address that the dynamic linker has put into the word at `slot`, if it is
// there for good: the word is read-only after relocation, or is one that calls
// through the procedure linkage table jump through. (Of these one that is not
// bound yet still leads into the table.) 0: any other word, which may change at
// any time.
//
// Set-up only: takes the dynamic linker's lock.
uintptr_t BoundSlot(uintptr_t slot);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_BOUND_SLOT_H_
