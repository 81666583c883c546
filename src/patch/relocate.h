// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_RELOCATE_H_
#define RETPROBE_PATCH_RELOCATE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "patch/instruction.h"

namespace retprobe {

// Bytes of the jump that an armed entry begins with, or of the int3 where a
// jump has no room.
inline constexpr size_t kJumpSize = 5;
inline constexpr size_t kTrapSize = 1;

// Where memory must lie so that everything the moved code refers to is in
// reach of a 32-bit distance.
struct ReachWindow {
  uintptr_t low = 0;
  uintptr_t high = UINTPTR_MAX;  // the last byte may be here

  // Narrows the window to what can reach `address`.
  void Cover(uintptr_t address);
  bool empty() const { return low >= high; }
};

// The whole instructions that a jump, or int3, at `address` covers.
struct DisplacedCode {
  uintptr_t address = 0;
  uint8_t patched = 0;  // bytes of the jump or int3
  uint8_t size = 0;     // bytes, at least `patched`
  uint8_t count = 0;    // instructions to move; padding is not among them
  bool nops = false;    // nothing to move: the body is at `after`
  bool ends = false;    // the last one to move passes control elsewhere
  uintptr_t after = 0;  // where the function continues behind them
  Instruction instructions[kJumpSize] = {};
  uint8_t bytes[kJumpSize + kMaxInstruction] = {};
};

// What is known of the function that `address` is the entry of.
struct EntryBounds {
  uintptr_t end = 0;          // behind its last byte; 0: unknown
  uintptr_t next = 0;         // where the next function begins; 0: unknown
  bool shadow_stack = false;  // a hardware shadow stack checks returns
};

// Decides what a jump at `address`, or an int3 (`patched`), displaces; `code`
// is what stands there.
//
// Errors: kFailedPrecondition with the reason why it cannot be moved.
absl::StatusOr<DisplacedCode> DisplaceEntry(uintptr_t address,
                                            absl::Span<const uint8_t> code,
                                            const EntryBounds& bounds,
                                            size_t patched = kJumpSize);

// The bytes of the jump's distance at which one of the displaced instructions
// begins, as 0xff each, the others 0.
uint32_t InteriorBytes(const DisplacedCode& displaced);

// Narrows `window` to what can reach all that `displaced` refers to.
void CoverOperands(const DisplacedCode& displaced, ReachWindow* window);

// The moved instructions, to be placed at the address they were made for.
struct MovedCode {
  uint8_t size = 0;
  // For each offset into the displaced bytes at which one of the instructions
  // begins, that of its copy in `bytes`; kNoCopy for the others.
  uint8_t copies[kJumpSize] = {};
  uint8_t bytes[80] = {};
};
inline constexpr uint8_t kNoCopy = 0xff;

// Where instructions have gone: for branches to them from elsewhere.
struct MovedTo {
  uintptr_t address = 0;             // of the first, before
  uintptr_t copies[kJumpSize] = {};  // by offset; 0: none begins there

  // Where `target` is now.
  uintptr_t Follow(uintptr_t target) const {
    const uintptr_t offset = target - address;
    return offset < kJumpSize && copies[offset] != 0 ? copies[offset] : target;
  }
};

// Bytes that MoveCode() will make of `displaced`, wherever it is put.
size_t MovedSize(const DisplacedCode& displaced);

// Re-encodes `displaced` for `destination`, with a jump behind it. Branches to
// instructions that are moved with it, or were `elsewhere`, go to their copies;
// calls do not. Requires: a `destination` within what CoverOperands() allows;
// checked, kInternal.
absl::StatusOr<MovedCode> MoveCode(const DisplacedCode& displaced,
                                   uintptr_t destination,
                                   const MovedTo& elsewhere = {});

}  // namespace retprobe

#endif  // RETPROBE_PATCH_RELOCATE_H_
