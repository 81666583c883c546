// SPDX-License-Identifier: Apache-2.0
#include "probe/handler_code.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "symbols/symbols.h"

namespace retprobe {
namespace {

constexpr size_t kMaxInstructions = 4096;
constexpr size_t kMaxLength = 15;
constexpr uintptr_t kRetpoline = 64;  // bytes, generously

bool IsR8ToR11(ZydisRegister r) {
  return (r >= ZYDIS_REGISTER_R8B && r <= ZYDIS_REGISTER_R11B) ||
         (r >= ZYDIS_REGISTER_R8W && r <= ZYDIS_REGISTER_R11W) ||
         (r >= ZYDIS_REGISTER_R8D && r <= ZYDIS_REGISTER_R11D) ||
         (r >= ZYDIS_REGISTER_R8 && r <= ZYDIS_REGISTER_R11);
}

// Follows code from one entry, every instruction once.
class Reader {
 public:
  Reader() {
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64,
                     ZYDIS_STACK_WIDTH_64);
  }

  HandlerCode Read(uintptr_t entry) {
    bounds_ = BoundsFromUnwindTable(entry);
    pending_.push_back(entry);
    while (!pending_.empty() && use_ != VectorUse::kAny) {
      uintptr_t address = pending_.back();
      pending_.pop_back();
      while (use_ != VectorUse::kAny && address != 0 &&
             seen_.insert(address).second) {
        address = Step(address);
      }
      if (seen_.size() > kMaxInstructions) use_ = VectorUse::kAny;
    }
    return {.vectors = use_, .leaf = leaf_ && use_ <= VectorUse::kSseFew};
  }

 private:
  void Note(VectorUse use) { use_ = std::max(use_, use); }

  bool Inside(uintptr_t address) const {
    return address >= bounds_.begin && address < bounds_.end;
  }

  // Takes in one instruction; returns what follows it, 0 for nothing.
  uintptr_t Step(uintptr_t address) {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (ZYAN_FAILED(ZydisDecoderDecodeFull(
            &decoder_, reinterpret_cast<const void*>(address), kMaxLength,
            &instruction, operands))) {
      Note(VectorUse::kAny);
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
    if (r >= ZYDIS_REGISTER_XMM0 && r <= ZYDIS_REGISTER_XMM15) {
      const bool legacy =
          instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
      Note(!legacy                    ? VectorUse::kAny
           : r <= ZYDIS_REGISTER_XMM3 ? VectorUse::kSseFew
                                      : VectorUse::kSse);
    } else if (r >= ZYDIS_REGISTER_XMM16 && r <= ZYDIS_REGISTER_TMM7) {
      Note(VectorUse::kAny);
    } else if (r >= ZYDIS_REGISTER_K0 && r <= ZYDIS_REGISTER_K7) {
      Note(VectorUse::kAny);
    }
  }

  uintptr_t Next(uintptr_t address, const ZydisDecodedInstruction& instruction,
                 const ZydisDecodedOperand& target) {
    const uintptr_t behind = address + instruction.length;
    switch (instruction.meta.category) {
      case ZYDIS_CATEGORY_RET:
        // What was pushed just before is where it goes.
        if (after_push_) Note(VectorUse::kAny);
        return 0;
      case ZYDIS_CATEGORY_CALL:
      case ZYDIS_CATEGORY_COND_BR:
      case ZYDIS_CATEGORY_UNCOND_BR:
        break;
      default:
        return Changes(instruction) ? 0 : behind;
    }
    if (target.type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
        !target.imm.is_relative) {
      Note(VectorUse::kAny);  // who knows where to
      return 0;
    }
    const uintptr_t there = behind + target.imm.value.s;
    // A retpoline: the call is there for its return address, which is replaced.
    if (instruction.meta.category == ZYDIS_CATEGORY_CALL &&
        there - address < kRetpoline) {
      Note(VectorUse::kAny);
    }
    if (instruction.meta.category == ZYDIS_CATEGORY_CALL || !Inside(there)) {
      leaf_ = false;
    }
    if (instruction.meta.category == ZYDIS_CATEGORY_UNCOND_BR) return there;
    pending_.push_back(there);
    return behind;
  }

  // Instructions that change vector state without naming a register, or that
  // end the path.
  bool Changes(const ZydisDecodedInstruction& instruction) {
    switch (instruction.mnemonic) {
      case ZYDIS_MNEMONIC_VZEROALL:
      case ZYDIS_MNEMONIC_VZEROUPPER:
      case ZYDIS_MNEMONIC_XRSTOR:
      case ZYDIS_MNEMONIC_XRSTOR64:
      case ZYDIS_MNEMONIC_XRSTORS:
      case ZYDIS_MNEMONIC_XRSTORS64:
      case ZYDIS_MNEMONIC_FXRSTOR:
      case ZYDIS_MNEMONIC_FXRSTOR64:
        Note(VectorUse::kAny);
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
        Note(VectorUse::kAny);
        return true;
      default:
        return false;
    }
  }

  ZydisDecoder decoder_;
  std::vector<uintptr_t> pending_;
  absl::flat_hash_set<uintptr_t> seen_;
  FunctionBounds bounds_ = {0, 0};
  VectorUse use_ = VectorUse::kNone;
  bool leaf_ = true;
  bool after_push_ = false;
};

}  // namespace

HandlerCode ReadHandlerCode(const void* function) {
  return Reader().Read(reinterpret_cast<uintptr_t>(function));
}

}  // namespace retprobe
