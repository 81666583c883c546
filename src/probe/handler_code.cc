// SPDX-License-Identifier: Apache-2.0
#include "probe/handler_code.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "retprobe/rethook.h"
#include "symbols/bound_slot.h"
#include "symbols/symbols.h"

namespace retprobe {
namespace {

constexpr size_t kMaxInstructions = 4096;
constexpr size_t kMaxLength = 15;
constexpr uintptr_t kRetpoline = 64;  // bytes, generously

// Where calls of `member` go.
uintptr_t AddressOf(auto member) {
  uintptr_t address;
  static_assert(sizeof(member) >= sizeof(address));
  std::memcpy(&address, &member, sizeof(address));
  return address;
}

// The members of contexts, which nobody can probe.
bool IsContextMember(uintptr_t address) {
  static const absl::flat_hash_set<uintptr_t>* const members =
      new absl::flat_hash_set<uintptr_t>{
          AddressOf(&EntryContext::function),
          AddressOf(&EntryContext::return_address),
          AddressOf(&EntryContext::frame),
          AddressOf(&EntryContext::argument),
          AddressOf(&EntryContext::set_argument),
          AddressOf(&ReturnContext::function),
          AddressOf(&ReturnContext::return_address),
          AddressOf(&ReturnContext::frame),
          AddressOf(&ReturnContext::result),
          AddressOf(&ReturnContext::result_high),
          AddressOf(&ReturnContext::set_result),
          AddressOf(&ReturnContext::set_result_high),
          AddressOf(&ReturnContext::float_result),
          AddressOf(&ReturnContext::set_float_result),
          AddressOf(&ReturnContext::argument)};
  return members->contains(address);
}

// The members that look at vector registers 0..7 as they were at entry.
bool IsFloatArgument(uintptr_t address) {
  return address == AddressOf(&EntryContext::float_argument) ||
         address == AddressOf(&EntryContext::set_float_argument);
}

// Functions after which the process does not go on.
bool EndsProcess(uintptr_t address) {
  return address == reinterpret_cast<uintptr_t>(&std::abort) ||
         address == reinterpret_cast<uintptr_t>(&std::terminate);
}

bool In(ZydisRegister r, ZydisRegister first, ZydisRegister last) {
  return r >= first && r <= last;
}

bool IsR8ToR11(ZydisRegister r) {
  return In(r, ZYDIS_REGISTER_R8B, ZYDIS_REGISTER_R11B) ||
         In(r, ZYDIS_REGISTER_R8W, ZYDIS_REGISTER_R11W) ||
         In(r, ZYDIS_REGISTER_R8D, ZYDIS_REGISTER_R11D) ||
         In(r, ZYDIS_REGISTER_R8, ZYDIS_REGISTER_R11);
}

// What changes when `r` is written; `legacy`: by code that leaves the
// parts above 128 bits alone.
uint8_t UseOf(ZydisRegister r, bool legacy) {
  for (const ZydisRegister first :
       {ZYDIS_REGISTER_XMM0, ZYDIS_REGISTER_YMM0, ZYDIS_REGISTER_ZMM0}) {
    if (r < first || r > first + 31) continue;
    const int number = r - first;
    if (number > 15) return kHigh;
    if (number > 3) return legacy ? kSse : kLow;
    return legacy ? kSseFew : kFew;
  }
  if (In(r, ZYDIS_REGISTER_K0, ZYDIS_REGISTER_K7)) return kMasks;
  return 0;
}

// Follows code from one entry, every instruction once.
class Reader {
 public:
  Reader() {
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64,
                     ZYDIS_STACK_WIDTH_64);
  }

  HandlerCode Read(uintptr_t entry) {
    ranges_.push_back(BoundsFromUnwindTable(entry));
    pending_.push_back(entry);
    while (!pending_.empty() && vectors_ != kAllVectors) {
      uintptr_t address = pending_.back();
      pending_.pop_back();
      while (vectors_ != kAllVectors && address != 0 &&
             seen_.insert(address).second) {
        address = Step(address);
      }
      if (seen_.size() > kMaxInstructions) vectors_ = kAllVectors;
    }
    return {.vectors = vectors_, .leaf = leaf_ && vectors_ <= kSseFew};
  }

 private:
  void Note(uint8_t use) { vectors_ |= use; }

  // Takes in one instruction; returns what follows it, 0 for nothing.
  uintptr_t Step(uintptr_t address) {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (ZYAN_FAILED(ZydisDecoderDecodeFull(
            &decoder_, reinterpret_cast<const void*>(address), kMaxLength,
            &instruction, operands))) {
      Note(kAllVectors);
      return 0;
    }
    for (int i = 0; i < instruction.operand_count; ++i) {
      NoteOperand(instruction, operands[i]);
    }
    const uintptr_t next = Next(address, instruction, operands[0]);
    after_push_ = instruction.mnemonic == ZYDIS_MNEMONIC_PUSH;
    return next;
  }

  void NoteOperand(const ZydisDecodedInstruction& instruction,
                   const ZydisDecodedOperand& operand) {
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
        (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0) {
      return;
    }
    const ZydisRegister r = operand.reg.value;
    if (IsR8ToR11(r)) leaf_ = false;
    Note(UseOf(r, instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY));
  }

  uintptr_t Next(uintptr_t address, const ZydisDecodedInstruction& instruction,
                 const ZydisDecodedOperand& operand) {
    const uintptr_t behind = address + instruction.length;
    switch (instruction.meta.category) {
      case ZYDIS_CATEGORY_RET:
        // What was pushed just before is where it goes.
        if (after_push_) Note(kAllVectors);
        return 0;
      case ZYDIS_CATEGORY_CALL:
      case ZYDIS_CATEGORY_COND_BR:
      case ZYDIS_CATEGORY_UNCOND_BR:
        break;
      default:
        return Changes(instruction) ? 0 : behind;
    }
    uintptr_t there = Target(behind, instruction, operand);
    if (there == 0) {
      Note(kAllVectors);  // who knows where to
      return 0;
    }
    if (instruction.meta.category == ZYDIS_CATEGORY_CALL) {
      return FollowCall(address, behind, there);
    }
    if (!Inside(there)) {
      there = BehindLinkage(there);
      NoteOutside(there);
    }
    if (instruction.meta.category == ZYDIS_CATEGORY_UNCOND_BR) return there;
    pending_.push_back(there);
    return behind;
  }

  // Where a branch goes; 0 when that is not known.
  static uintptr_t Target(uintptr_t behind,
                          const ZydisDecodedInstruction& instruction,
                          const ZydisDecodedOperand& operand) {
    if (instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return 0;
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
        operand.imm.is_relative) {
      return behind + operand.imm.value.s;
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
        operand.mem.base == ZYDIS_REGISTER_RIP &&
        operand.mem.segment != ZYDIS_REGISTER_FS &&
        operand.mem.segment != ZYDIS_REGISTER_GS) {
      return BoundSlot(behind + operand.mem.disp.value);
    }
    return 0;
  }

  uintptr_t FollowCall(uintptr_t address, uintptr_t behind, uintptr_t there) {
    // A retpoline: the call is there for its return address, which is replaced.
    if (there - address < kRetpoline) Note(kAllVectors);
    there = BehindLinkage(there);
    if (EndsProcess(there)) return 0;
    NoteOutside(there);
    pending_.push_back(there);
    return behind;
  }

  // Where an entry of the procedure linkage table at `address` leads to, else
  // `address`.
  uintptr_t BehindLinkage(uintptr_t address) const {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    uintptr_t at = address;
    for (int i = 0; i < 2; ++i) {
      if (ZYAN_FAILED(ZydisDecoderDecodeFull(
              &decoder_, reinterpret_cast<const void*>(at), kMaxLength,
              &instruction, operands))) {
        break;
      }
      at += instruction.length;
      if (instruction.mnemonic == ZYDIS_MNEMONIC_ENDBR64) continue;
      if (instruction.mnemonic == ZYDIS_MNEMONIC_JMP &&
          operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
        const uintptr_t there = Target(at, instruction, operands[0]);
        if (there != 0) return there;
      }
      break;
    }
    return address;
  }

  // Control leaves what was read so far for `there`.
  void NoteOutside(uintptr_t there) {
    if (IsFloatArgument(there)) Note(kSse);
    if (IsContextMember(there)) {
      ranges_.push_back(BoundsFromUnwindTable(there));
    } else {
      leaf_ = false;
    }
  }

  bool Inside(uintptr_t address) const {
    return std::any_of(ranges_.begin(), ranges_.end(),
                       [address](const FunctionBounds& range) {
                         return address >= range.begin && address < range.end;
                       });
  }

  // Instructions that change vector state without naming a register, or that
  // end the path.
  bool Changes(const ZydisDecodedInstruction& instruction) {
    switch (instruction.mnemonic) {
      case ZYDIS_MNEMONIC_VZEROALL:
      case ZYDIS_MNEMONIC_VZEROUPPER:
        Note(kLow);
        return false;
      case ZYDIS_MNEMONIC_XRSTOR:
      case ZYDIS_MNEMONIC_XRSTOR64:
      case ZYDIS_MNEMONIC_XRSTORS:
      case ZYDIS_MNEMONIC_XRSTORS64:
      case ZYDIS_MNEMONIC_FXRSTOR:
      case ZYDIS_MNEMONIC_FXRSTOR64:
        Note(kAllVectors);
        return true;
      case ZYDIS_MNEMONIC_SYSCALL:
        leaf_ = false;
        return false;
      case ZYDIS_MNEMONIC_UD0:
      case ZYDIS_MNEMONIC_UD1:
      case ZYDIS_MNEMONIC_UD2:
      case ZYDIS_MNEMONIC_HLT:
        return true;
      case ZYDIS_MNEMONIC_INT3:  // a breakpoint may hide what is there
      case ZYDIS_MNEMONIC_INT1:
        Note(kAllVectors);
        return true;
      default:
        return false;
    }
  }

  ZydisDecoder decoder_;
  std::vector<uintptr_t> pending_;
  absl::flat_hash_set<uintptr_t> seen_;
  std::vector<FunctionBounds> ranges_;  // in which it may stay a leaf
  uint8_t vectors_ = 0;
  bool leaf_ = true;
  bool after_push_ = false;
};

}  // namespace

HandlerCode ReadHandlerCode(const void* function) {
  return Reader().Read(reinterpret_cast<uintptr_t>(function));
}

}  // namespace retprobe
