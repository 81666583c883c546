// SPDX-License-Identifier: Apache-2.0
#include "patch/relocate.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace retprobe {
namespace {

using Kind = Instruction::Kind;

// Compilers align functions to this; a hand-written neighbour without an
// unwind entry is taken to begin here at the earliest.
constexpr uintptr_t kFunctionAlignment = 16;

// A 32-bit distance, less what a stub and the longest instruction may add.
constexpr uintptr_t kReach = (uintptr_t{1} << 31) - 4096;

absl::Status Refuse(absl::string_view reason) {
  return absl::FailedPreconditionError(reason);
}

// Why one instruction of the displaced bytes cannot be moved, or Ok.
absl::Status Movable(const Instruction& instruction, const uint8_t* bytes,
                     size_t offset, const EntryBounds& bounds, size_t patched) {
  const auto at = [&](absl::string_view what) {
    return Refuse(absl::StrCat(what, " at +", offset));
  };
  if (instruction.uses_eip) return at("has an eip-relative operand");
  if (instruction.distance_size == 2) return at("has a 16-bit branch");
  switch (instruction.kind) {
    case Kind::kBreakpoint:
      return at("has a breakpoint (int3)");
    case Kind::kSystemCall:
      // A blocked system call has its pc behind it, a restarted one before it.
      if (offset + instruction.length < patched || offset > 0) {
        return at("has a system call");
      }
      return absl::OkStatus();
    case Kind::kIndirectCall:
      if ((bytes[instruction.modrm] >> 3 & 7) != 2) return at("has a far call");
      if (offset + instruction.length < patched) {
        return Refuse(
            absl::StrCat("has a call that returns into its first 5 bytes, to +",
                         offset + instruction.length));
      }
      if (instruction.uses_stack_pointer) {
        return at("has a call through its stack");
      }
      [[fallthrough]];
    case Kind::kCall:
      if (bounds.shadow_stack) {
        return at("has a call, and a hardware shadow stack is in force,");
      }
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

// Extends `displaced`, whose last instruction ends the flow of control before
// `patched` bytes, over the padding behind it.
absl::Status TakePadding(absl::Span<const uint8_t> code,
                         const EntryBounds& bounds, DisplacedCode* displaced) {
  const size_t length = displaced->size;
  const uintptr_t end =
      bounds.end != 0 ? bounds.end : displaced->address + length;
  const uintptr_t wanted = displaced->address + displaced->patched;
  const auto too_short = [&](absl::string_view why) {
    return Refuse(absl::StrCat("is ", length, " bytes long and ", why));
  };
  if (wanted > end) {
    const uintptr_t aligned =
        (end + kFunctionAlignment - 1) & ~(kFunctionAlignment - 1);
    if (wanted > aligned) return too_short("has no padding behind it");
    if (bounds.next != 0 && wanted > bounds.next) {
      return too_short("the next function follows at once");
    }
  }
  while (displaced->size < displaced->patched) {
    Instruction padding;
    if (!DecodeInstruction(code.data() + displaced->size,
                           code.size() - displaced->size,
                           displaced->address + displaced->size, &padding) ||
        (padding.kind != Kind::kNop && padding.kind != Kind::kBreakpoint)) {
      return too_short("what follows is not padding");
    }
    displaced->size += padding.length;
  }
  return absl::OkStatus();
}

// Where the run of nops that begins at `offset` ends.
size_t EndOfNops(absl::Span<const uint8_t> code, uintptr_t address,
                 size_t offset, const EntryBounds& bounds) {
  Instruction nop;
  while (offset < code.size() &&
         (bounds.end == 0 || address + offset < bounds.end) &&
         DecodeInstruction(code.data() + offset, code.size() - offset,
                           address + offset, &nop) &&
         nop.kind == Kind::kNop) {
    offset += nop.length;
  }
  return offset;
}

// Decodes the instruction at `displaced->size` and appends it.
absl::Status TakeInstruction(absl::Span<const uint8_t> code,
                             const EntryBounds& bounds,
                             DisplacedCode* displaced) {
  const size_t offset = displaced->size;
  Instruction& instruction = displaced->instructions[displaced->count];
  const uintptr_t end = bounds.end != 0 ? bounds.end : bounds.next;
  if (end != 0 && displaced->address + offset >= end) {
    return Refuse(
        absl::StrCat("is ", offset, " bytes long and runs into what follows"));
  }
  if (offset >= code.size() ||
      !DecodeInstruction(code.data() + offset, code.size() - offset,
                         displaced->address + offset, &instruction)) {
    return Refuse(absl::StrCat("has no valid instruction at +", offset));
  }
  if (instruction.kind == Kind::kNop) instruction.displacement = 0;
  if (absl::Status status = Movable(instruction, code.data() + offset, offset,
                                    bounds, displaced->patched);
      !status.ok()) {
    return status;
  }
  displaced->size += instruction.length;
  ++displaced->count;
  displaced->nops = displaced->nops && instruction.kind == Kind::kNop;
  displaced->ends = instruction.EndsFlow() || instruction.kind == Kind::kCall ||
                    instruction.kind == Kind::kIndirectCall;
  return absl::OkStatus();
}

// Writes the moved instructions, noting whether every distance fits.
class Mover {
 public:
  Mover(const DisplacedCode& displaced, uintptr_t destination,
        const MovedTo& elsewhere = {}, const MovedTo& here = {})
      : displaced_(displaced),
        destination_(destination),
        elsewhere_(elsewhere),
        here_(here) {
    std::fill(std::begin(moved_.copies), std::end(moved_.copies), kNoCopy);
    size_t offset = 0;
    for (int i = 0; i < displaced.count; ++i) {
      const Instruction& instruction = displaced.instructions[i];
      moved_.copies[offset] = displaced.nops ? 0 : moved_.size;
      if (!displaced.nops) Move(instruction, offset);
      offset += instruction.length;
    }
    if (!displaced.ends) Jump(displaced.after);
    if (literal_ != 0) {
      Distance(literal_, destination_ + moved_.size);
      Append(&return_address_, sizeof(return_address_));
    }
  }

  bool in_reach() const { return in_reach_; }
  const MovedCode& moved() const { return moved_; }

 private:
  void Append(const void* bytes, size_t size) {
    std::memcpy(moved_.bytes + moved_.size, bytes, size);
    moved_.size += size;
  }
  void Byte(uint8_t byte) { Append(&byte, 1); }

  // Stores at `position` the distance to `target` of an instruction that ends
  // `trailing` bytes behind the four of the distance.
  void Distance(size_t position, uintptr_t target, size_t trailing = 0) {
    const int64_t distance =
        static_cast<int64_t>(target - (destination_ + position + 4 + trailing));
    const int32_t narrow = static_cast<int32_t>(distance);
    if (narrow != distance) in_reach_ = false;
    std::memcpy(moved_.bytes + position, &narrow, sizeof(narrow));
  }
  void AppendDistance(uintptr_t target) {
    moved_.size += 4;
    Distance(moved_.size - 4, target);
  }

  void Jump(uintptr_t target) {
    Byte(0xe9);
    AppendDistance(target);
  }

  // push literal(%rip): what the call would have pushed, by one instruction
  // that changes no register and no flag. The literal comes last.
  void PushReturnAddress(uintptr_t address) {
    return_address_ = address;
    Byte(0xff);
    Byte(0x35);
    literal_ = moved_.size;
    moved_.size += 4;
  }

  uintptr_t TargetOf(const Instruction& instruction) const {
    return here_.Follow(elsewhere_.Follow(instruction.target));
  }

  void Copy(const Instruction& instruction, size_t offset) {
    const size_t begin = moved_.size;
    Append(displaced_.bytes + offset, instruction.length);
    if (instruction.displacement != 0) {
      Distance(begin + instruction.displacement, instruction.target,
               instruction.length - instruction.displacement - 4);
    } else if (instruction.distance_size == 4) {
      Distance(begin + instruction.distance, TargetOf(instruction));
    }
  }

  void Move(const Instruction& instruction, size_t offset) {
    const uint8_t* bytes = displaced_.bytes + offset;
    const uintptr_t next = displaced_.address + offset + instruction.length;
    switch (instruction.kind) {
      case Kind::kCall:
        PushReturnAddress(next);
        Jump(instruction.target);
        break;
      case Kind::kIndirectCall: {
        PushReturnAddress(next);
        const size_t begin = moved_.size;
        Copy(instruction, offset);
        // The same operand with /4, jump, instead of /2, call.
        uint8_t& modrm = moved_.bytes[begin + instruction.modrm];
        modrm = static_cast<uint8_t>((modrm & ~0x38) | 0x20);
        break;
      }
      case Kind::kJump:
        Jump(TargetOf(instruction));
        break;
      case Kind::kConditional:
        // The condition is the low half of the opcode in both forms.
        Byte(0x0f);
        Byte(0x80 | (bytes[instruction.distance - 1] & 0x0f));
        AppendDistance(TargetOf(instruction));
        break;
      case Kind::kLoop:
        // loop over a jump over the jump.
        Append(bytes, instruction.distance);
        Byte(2);
        Byte(0xeb);
        Byte(kJumpSize);
        Jump(TargetOf(instruction));
        break;
      default:
        Copy(instruction, offset);
        break;
    }
  }

  const DisplacedCode& displaced_;
  const uintptr_t destination_;
  const MovedTo& elsewhere_;
  const MovedTo& here_;
  MovedCode moved_;
  bool in_reach_ = true;
  size_t literal_ = 0;  // where the distance to the literal stands, or 0
  uint64_t return_address_ = 0;
};

}  // namespace

void ReachWindow::Cover(uintptr_t address) {
  low = std::max(low, address > kReach ? address - kReach : 0);
  high = std::min(
      high, address < UINTPTR_MAX - kReach ? address + kReach : UINTPTR_MAX);
}

absl::StatusOr<DisplacedCode> DisplaceEntry(uintptr_t address,
                                            absl::Span<const uint8_t> code,
                                            const EntryBounds& bounds,
                                            size_t patched) {
  DisplacedCode displaced;
  displaced.address = address;
  displaced.patched = static_cast<uint8_t>(patched);
  displaced.nops = true;
  while (displaced.size < patched) {
    if (absl::Status status = TakeInstruction(code, bounds, &displaced);
        !status.ok()) {
      return status;
    }
    if (displaced.ends && displaced.size < patched) {
      if (absl::Status status = TakePadding(code, bounds, &displaced);
          !status.ok()) {
        return status;
      }
    }
  }
  displaced.after = address + displaced.size;
  if (displaced.nops) {
    displaced.after =
        address + EndOfNops(code, address, displaced.size, bounds);
  }
  std::memcpy(displaced.bytes, code.data(),
              std::min(sizeof(displaced.bytes),
                       std::min<size_t>(displaced.size, code.size())));
  return displaced;
}

uint32_t InteriorBytes(const DisplacedCode& displaced) {
  uint32_t bytes = 0;
  size_t offset = 0;
  for (int i = 0; i < displaced.count; ++i) {
    if (offset > 0 && offset < kJumpSize) bytes |= 0xffu << 8 * (offset - 1);
    offset += displaced.instructions[i].length;
  }
  return bytes;
}

void CoverOperands(const DisplacedCode& displaced, ReachWindow* window) {
  window->Cover(displaced.address);
  for (int i = 0; i < displaced.count; ++i) {
    const Instruction& instruction = displaced.instructions[i];
    if (instruction.displacement != 0 || instruction.IsRelativeBranch()) {
      window->Cover(instruction.target);
    }
  }
}

size_t MovedSize(const DisplacedCode& displaced) {
  return Mover(displaced, displaced.address).moved().size;
}

absl::StatusOr<MovedCode> MoveCode(const DisplacedCode& displaced,
                                   uintptr_t destination,
                                   const MovedTo& elsewhere) {
  // Sizes do not depend on distances: one round says where everything goes.
  const MovedCode draft = Mover(displaced, destination).moved();
  MovedTo here = {.address = displaced.address};
  for (size_t i = 0; i < displaced.patched && !displaced.nops; ++i) {
    if (draft.copies[i] != kNoCopy) {
      here.copies[i] = destination + draft.copies[i];
    }
  }
  const Mover mover(displaced, destination, elsewhere, here);
  if (!mover.in_reach()) {
    return absl::InternalError("moved code cannot reach what it refers to");
  }
  return mover.moved();
}

}  // namespace retprobe
