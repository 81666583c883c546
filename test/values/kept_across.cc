// SPDX-License-Identifier: Apache-2.0
#include "kept_across.h"

#include <Zydis/Zydis.h>

#include <cstdint>
#include <set>

namespace {

// Where rax and rdx, the results, are not among them.
bool ByCaller(ZydisRegister r) {
  return r == ZYDIS_REGISTER_RCX || r == ZYDIS_REGISTER_RSI ||
         r == ZYDIS_REGISTER_RDI ||
         (r >= ZYDIS_REGISTER_R8 && r <= ZYDIS_REGISTER_R11) ||
         (r >= ZYDIS_REGISTER_ZMM1 && r <= ZYDIS_REGISTER_ZMM15);
}

ZydisRegister Whole(ZydisRegister r) {
  return ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
}

// By its usual name.
std::string NameOf(ZydisRegister r) {
  const std::string name = ZydisRegisterGetString(r);
  return (r >= ZYDIS_REGISTER_ZMM1 ? "x" + name.substr(1) : name) + " ";
}

// What one instruction after another reads before it is written.
class Reads {
 public:
  void Note(const ZydisDecodedOperand* operands, int count) {
    for (int i = 0; i < count; ++i) NoteReads(operands[i]);
    for (int i = 0; i < count; ++i) {
      if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
          (operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0) {
        written_.insert(Whole(operands[i].reg.value));
      }
    }
  }

  std::string names() const {
    std::string names;
    for (const ZydisRegister r : read_) names += NameOf(r);
    return names;
  }

 private:
  void NoteReads(const ZydisDecodedOperand& operand) {
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
      Read(operand.mem.base);
      Read(operand.mem.index);
    } else if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
               (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0) {
      Read(operand.reg.value);
    }
  }

  void Read(ZydisRegister used) {
    const ZydisRegister r = Whole(used);
    if (ByCaller(r) && !written_.contains(r)) read_.insert(r);
  }

  std::set<ZydisRegister> written_;
  std::set<ZydisRegister> read_;
};

}  // namespace

std::string KeptAcross(const void* caller, const void* callee) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  auto at = reinterpret_cast<uintptr_t>(caller);
  Reads reads;
  for (bool behind = false;;) {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder,
                                           reinterpret_cast<const void*>(at),
                                           15, &instruction, operands)) ||
        instruction.mnemonic == ZYDIS_MNEMONIC_RET) {
      return reads.names();
    }
    at += instruction.length;
    if (instruction.mnemonic == ZYDIS_MNEMONIC_CALL) {
      if (at + operands[0].imm.value.s != reinterpret_cast<uintptr_t>(callee)) {
        return reads.names();
      }
      behind = true;
    } else if (behind) {
      reads.Note(operands, instruction.operand_count);
    }
  }
}
