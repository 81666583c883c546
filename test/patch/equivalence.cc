// SPDX-License-Identifier: Apache-2.0
#include "patch/equivalence.h"

#include <Zydis/Zydis.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace retprobe {
namespace {

struct Decoded {
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

  uint8_t length() const { return instruction.length; }
  ZydisMnemonic mnemonic() const { return instruction.mnemonic; }
  bool relative() const { return instruction.raw.imm[0].is_relative; }
  bool rip_relative() const {
    for (const ZydisDecodedOperand& operand : operands) {
      if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
          (operand.mem.base == ZYDIS_REGISTER_RIP ||
           operand.mem.base == ZYDIS_REGISTER_EIP)) {
        return true;
      }
    }
    return false;
  }
  // Of a branch, or of a rip-relative operand, as an instruction at `address`.
  uintptr_t Target(uintptr_t address) const {
    const int64_t distance = relative() ? instruction.raw.imm[0].value.s
                                        : instruction.raw.disp.value;
    return address + length() + static_cast<uintptr_t>(distance);
  }
};

bool Decode(const uint8_t* bytes, Decoded* decoded) {
  static const ZydisDecoder decoder = [] {
    ZydisDecoder fresh;
    ZydisDecoderInit(&fresh, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return fresh;
  }();
  *decoded = {};
  return ZYAN_SUCCESS(
      ZydisDecoderDecodeFull(&decoder, bytes, ZYDIS_MAX_INSTRUCTION_LENGTH,
                             &decoded->instruction, decoded->operands));
}

// Whether control never goes on behind it by itself.
bool Leaves(const Decoded& decoded) {
  switch (decoded.instruction.meta.category) {
    case ZYDIS_CATEGORY_UNCOND_BR:
      // Outside a transaction it does nothing.
      return decoded.mnemonic() != ZYDIS_MNEMONIC_XABORT;
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_CALL:  // it returns into the original code
      return true;
    default:
      return decoded.mnemonic() == ZYDIS_MNEMONIC_UD0 ||
             decoded.mnemonic() == ZYDIS_MNEMONIC_UD1 ||
             decoded.mnemonic() == ZYDIS_MNEMONIC_UD2 ||
             decoded.mnemonic() == ZYDIS_MNEMONIC_HLT;
  }
}

class Comparison {
 public:
  explicit Comparison(const MovedPair& pair) : pair_(pair) {}

  std::string Run() {
    Decoded original;
    while (at_ < pair_.patched && !left_) {
      if (!Decode(pair_.original + at_, &original))
        return Say("no instruction");
      if (pair_.copies[at_] != moved_at_) return Say("its copy is elsewhere");
      const std::string difference = Compare(original);
      if (!difference.empty()) return Say(difference);
      at_ += original.length();
      left_ = Leaves(original);
    }
    if (left_) return Padding();
    if (at_ != pair_.displaced) return Say("wrong length");
    return Jump(pair_.address + at_) ? "" : Say("does not go on behind");
  }

 private:
  std::string Say(const std::string& what) const {
    return absl::StrCat("+", at_, ": ", what);
  }

  uintptr_t here() const { return pair_.address + at_; }
  const uint8_t* moved() const { return pair_.moved + moved_at_; }
  uintptr_t moved_here() const { return pair_.destination + moved_at_; }

  // Behind what leaves only nops and int3 may be covered.
  std::string Padding() {
    Decoded padding;
    for (; at_ < pair_.patched; at_ += padding.length()) {
      if (!Decode(pair_.original + at_, &padding) ||
          (padding.mnemonic() != ZYDIS_MNEMONIC_NOP &&
           padding.mnemonic() != ZYDIS_MNEMONIC_INT3)) {
        return Say("covers what is not padding");
      }
    }
    return at_ == pair_.displaced ? "" : Say("wrong length");
  }

  // Where a branch to `target` has to go.
  uintptr_t Follow(uintptr_t target) const {
    const uintptr_t offset = target - pair_.address;
    if (offset < pair_.patched) {
      return pair_.copies[offset] == kNoCopy
                 ? 0
                 : pair_.destination + pair_.copies[offset];
    }
    return pair_.elsewhere->Follow(target);
  }

  // jmp `target`, next in the moved code.
  bool Jump(uintptr_t target) {
    Decoded jump;
    if (!Decode(moved(), &jump) || jump.mnemonic() != ZYDIS_MNEMONIC_JMP ||
        !jump.relative() || jump.Target(moved_here()) != target) {
      return false;
    }
    moved_at_ += jump.length();
    return true;
  }

  // push literal(%rip), where the literal is `value`.
  bool Push(uintptr_t value) {
    Decoded push;
    if (!Decode(moved(), &push) || push.mnemonic() != ZYDIS_MNEMONIC_PUSH ||
        !push.rip_relative() || push.instruction.operand_width != 64) {
      return false;
    }
    uintptr_t literal;
    const uintptr_t place = push.Target(moved_here()) - pair_.destination;
    if (place > pair_.moved_size - sizeof(literal)) return false;
    std::memcpy(&literal, pair_.moved + place, sizeof(literal));
    moved_at_ += push.length();
    return literal == value;
  }

  std::string Compare(const Decoded& original) {
    if (original.instruction.meta.category == ZYDIS_CATEGORY_SYSCALL &&
        (at_ != 0 || pair_.patched > original.length())) {
      return "a system call that was interrupted would come back here";
    }
    const bool call = original.mnemonic() == ZYDIS_MNEMONIC_CALL;
    if (call && at_ + original.length() < pair_.patched) {
      return "a call that returns into the patch";
    }
    if (call && !Push(here() + original.length())) {
      return "pushes another return address";
    }
    if (original.relative()) return CompareBranch(original);
    return call ? CompareIndirectCall(original) : CompareBytes(original);
  }

  std::string CompareBranch(const Decoded& original) {
    const uintptr_t target = original.Target(here());
    if (original.mnemonic() == ZYDIS_MNEMONIC_CALL) {
      return Jump(target) ? "" : "calls another function";
    }
    const uintptr_t wanted = Follow(target);
    if (original.mnemonic() == ZYDIS_MNEMONIC_JMP) {
      return Jump(wanted) ? "" : "jumps elsewhere";
    }
    Decoded copy;
    const bool counts = original.instruction.opcode >= 0xe0 &&
                        original.instruction.opcode <= 0xe3;
    if (!Decode(moved(), &copy) || copy.mnemonic() != original.mnemonic() ||
        (counts && copy.instruction.address_width !=
                       original.instruction.address_width)) {
      return "branches on another condition";
    }
    uintptr_t reached = copy.Target(moved_here());
    moved_at_ += copy.length();
    if (counts) {
      // Over a jump, to a jump: loop 1f; jmp 2f; 1: jmp target; 2:
      Decoded over;
      if (!Decode(moved(), &over) || over.mnemonic() != ZYDIS_MNEMONIC_JMP) {
        return "goes on elsewhere";
      }
      const uintptr_t skip = over.Target(moved_here());
      moved_at_ += over.length();
      if (reached != moved_here()) return "branches beside its jump";
      if (!Jump(wanted)) return "branches elsewhere";
      return skip == moved_here() ? "" : "goes on elsewhere";
    }
    return reached == wanted ? "" : "branches elsewhere";
  }

  // The same operand, of a jump; it must not depend on what was pushed.
  std::string CompareIndirectCall(const Decoded& original) {
    Decoded jump;
    if (!Decode(moved(), &jump) || jump.mnemonic() != ZYDIS_MNEMONIC_JMP ||
        jump.instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NEAR) {
      return "is no jump";
    }
    const auto& a = original.operands[0];
    const auto& b = jump.operands[0];
    bool same = a.type == b.type && a.size == b.size;
    if (a.type == ZYDIS_OPERAND_TYPE_REGISTER) {
      same = same && a.reg.value == b.reg.value &&
             a.reg.value != ZYDIS_REGISTER_RSP;
    } else {
      same = same && a.mem.segment == b.mem.segment &&
             a.mem.base == b.mem.base && a.mem.index == b.mem.index &&
             a.mem.scale == b.mem.scale && a.mem.base != ZYDIS_REGISTER_RSP;
      same = same && (original.rip_relative()
                          ? original.Target(here()) == jump.Target(moved_here())
                          : a.mem.disp.value == b.mem.disp.value);
    }
    moved_at_ += jump.length();
    return same ? "" : "calls through another operand";
  }

  // Byte by byte, but for the distance of a rip-relative operand.
  std::string CompareBytes(const Decoded& original) {
    Decoded copy;
    const uint8_t* bytes = pair_.original + at_;
    if (!Decode(moved(), &copy) || copy.length() != original.length()) {
      return "is another instruction";
    }
    const bool nop = original.mnemonic() == ZYDIS_MNEMONIC_NOP;
    const bool based = original.rip_relative() && !nop;
    const size_t skip = based ? original.instruction.raw.disp.offset : 0;
    for (size_t i = 0; i < original.length(); ++i) {
      if (based && i >= skip && i < skip + 4) continue;
      if (bytes[i] != moved()[i]) return "is another instruction";
    }
    if (based && (original.instruction.address_width != 64 ||
                  original.Target(here()) != copy.Target(moved_here()))) {
      return "has its operand elsewhere";
    }
    moved_at_ += copy.length();
    return "";
  }

  const MovedPair& pair_;
  size_t at_ = 0;        // in the original
  size_t moved_at_ = 0;  // in the moved code
  bool left_ = false;
};

// A body that is the function itself: what the patch covers must do nothing.
std::string DifferenceOfNops(const EntryPatch& patch) {
  Decoded nop;
  for (uintptr_t at = patch.address; at < patch.body(); at += nop.length()) {
    if (!Decode(reinterpret_cast<const uint8_t*>(at), &nop) ||
        nop.mnemonic() != ZYDIS_MNEMONIC_NOP) {
      return absl::StrCat("+", at - patch.address, ": is no nop");
    }
  }
  return patch.body() < patch.address + patch.patched ? "body in the patch"
                                                      : "";
}

std::string DifferenceOfOne(const EntryPatch& patch, uintptr_t begin,
                            const MovedTo& elsewhere) {
  uint8_t copies[kJumpSize];
  for (size_t i = 0; i < kJumpSize; ++i) {
    const uintptr_t copy = patch.stub + patch.moved[i];
    copies[i] = copy < begin || (patch.moved[i] == 0 && i > 0)
                    ? kNoCopy
                    : static_cast<uint8_t>(copy - begin);
  }
  return Difference({
      .original = reinterpret_cast<const uint8_t*>(patch.address),
      .address = patch.address,
      .patched = patch.patched,
      .displaced = patch.displaced,
      .moved = reinterpret_cast<const uint8_t*>(begin),
      .moved_size = sizeof(MovedCode::bytes),
      .destination = begin,
      .copies = copies,
      .elsewhere = &elsewhere,
  });
}

}  // namespace

std::string Difference(const MovedPair& pair) { return Comparison(pair).Run(); }

std::string DifferenceOf(const EntryPatch& patch) {
  if (patch.body() != patch.stub + patch.moved[0])
    return DifferenceOfNops(patch);
  std::string difference = DifferenceOfOne(patch, patch.body(), {});
  MovedTo moved = {.address = patch.address};
  for (size_t i = 0; i < kJumpSize; ++i) {
    if (patch.moved[i] != 0) moved.copies[i] = patch.stub + patch.moved[i];
  }
  for (const EntryPatch* d = patch.diversion; d != nullptr; d = d->diversion) {
    const std::string diverted = DifferenceOfOne(*d, d->stub, moved);
    if (!diverted.empty()) difference += "; diversion " + diverted;
  }
  return difference;
}

}  // namespace retprobe
