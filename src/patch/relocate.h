// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_RELOCATE_H_
#define RETPROBE_PATCH_RELOCATE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "patch/instruction.h"

namespace retprobe {

// Bytes of the jump that an armed entry begins with.
inline constexpr size_t kJumpSize = 5;

// Where memory must lie so that everything the moved code refers to is in
// reach of a 32-bit distance.
struct ReachWindow {
  uintptr_t low = 0;
  uintptr_t high = UINTPTR_MAX;  // the last byte may be here

  // Narrows the window to what can reach `address`.
  void Cover(uintptr_t address);
  bool empty() const { return low >= high; }
};

// The whole instructions that a jump at `address` covers.
struct DisplacedCode {
  uintptr_t address = 0;
  uint8_t size = 0;     // bytes, at least kJumpSize
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

// Decides what a jump at `address` displaces; `code` is what stands there.
//
// Errors: kFailedPrecondition with the reason why it cannot be moved.
absl::StatusOr<DisplacedCode> DisplaceEntry(uintptr_t address,
                                            absl::Span<const uint8_t> code,
                                            const EntryBounds& bounds);

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

// Bytes that MoveCode() will make of `displaced`, wherever it is put.
size_t MovedSize(const DisplacedCode& displaced);

// Re-encodes `displaced` for `destination`, with a jump behind it. Requires: a
// `destination` within what CoverOperands() allows; checked, kInternal.
absl::StatusOr<MovedCode> MoveCode(const DisplacedCode& displaced,
                                   uintptr_t destination);

}  // namespace retprobe

#endif  // RETPROBE_PATCH_RELOCATE_H_
