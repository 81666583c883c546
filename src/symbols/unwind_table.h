// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_UNWIND_TABLE_H_
#define RETPROBE_SYMBOLS_UNWIND_TABLE_H_

#include <cstdint>
#include <vector>

namespace retprobe {

struct FunctionBounds {
  uintptr_t begin;
  uintptr_t end;
};

// The bounds of the function that contains `address` by its module's unwind
// table; {0, 0} when there are none. A function's cold part has bounds of its
// own.
// Signals: async-signal-safe; allocates nothing and takes no lock.
FunctionBounds BoundsFromUnwindTable(uintptr_t address);

// Whether the unwind table says that code at `address` runs with more on the
// stack than a return address: it goes on with another function's work, as the
// fragments do into which BOLT and others split functions.
// Signals: as above.
bool IsInsideFrame(uintptr_t address);

// Every function range of the module that contains `address`, from its unwind
// table, ascending; empty when there are none. For sweeps over a module's code.
// Overlapping ranges are one; ranges that merely touch stay apart, so that
// every `begin` is the first byte of an instruction. The PLT is one range.
std::vector<FunctionBounds> UnwindTableRanges(uintptr_t address);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_UNWIND_TABLE_H_
