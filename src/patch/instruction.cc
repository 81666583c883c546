// SPDX-License-Identifier: Apache-2.0
#include "patch/instruction.h"

#include <Zydis/Zydis.h>

namespace retprobe {
namespace {

using Kind = Instruction::Kind;

const ZydisDecoder& Decoder() {
  static const ZydisDecoder decoder = [] {
    ZydisDecoder fresh;
    ZydisDecoderInit(&fresh, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return fresh;
  }();
  return decoder;
}

Kind KindOf(const ZydisDecodedInstruction& decoded) {
  const bool relative = decoded.raw.imm[0].is_relative;
  switch (decoded.mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
      return Kind::kNop;
    case ZYDIS_MNEMONIC_ENDBR64:
      return Kind::kEndbr64;
    case ZYDIS_MNEMONIC_INT3:
      return Kind::kBreakpoint;
    case ZYDIS_MNEMONIC_CALL:
      return relative ? Kind::kCall : Kind::kIndirectCall;
    case ZYDIS_MNEMONIC_JMP:
      return relative ? Kind::kJump : Kind::kIndirectJump;
    case ZYDIS_MNEMONIC_XBEGIN:
      return Kind::kTransaction;
    case ZYDIS_MNEMONIC_RET:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
      return Kind::kReturn;
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT:
      return Kind::kStop;
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
      return Kind::kSystemCall;
    default:
      break;
  }
  if (!relative) return Kind::kPlain;
  // What remains with a distance branches on a condition: jcc knows an 8- and
  // a 32-bit form, the others (opcodes e0 to e3) an 8-bit one only.
  return decoded.opcode >= 0xe0 && decoded.opcode <= 0xe3 ? Kind::kLoop
                                                          : Kind::kConditional;
}

// The memory operand, by its encoding: [rip + disp32] is mod 0, rm 5, in every
// encoding that has a ModRM byte.
void ReadMemoryOperand(const ZydisDecodedInstruction& decoded,
                       uintptr_t address, Instruction* result) {
  if (!(decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM)) return;
  const auto& modrm = decoded.raw.modrm;
  result->modrm = modrm.offset;
  // Bit 3 of the register comes from the prefix: with it r12, without it rsp.
  const bool extended = decoded.raw.rex.B != 0;
  if (modrm.mod == 3) {
    result->uses_stack_pointer = modrm.rm == 4 && !extended;
  } else if (modrm.rm == 4) {
    result->uses_stack_pointer = decoded.raw.sib.base == 4 && !extended;
  } else if (modrm.mod == 0 && modrm.rm == 5 && decoded.raw.disp.size == 32) {
    result->displacement = decoded.raw.disp.offset;
    result->uses_eip = decoded.address_width == 32;
    result->target = address + decoded.length +
                     static_cast<uintptr_t>(decoded.raw.disp.value);
  }
}

}  // namespace

bool DecodeInstruction(const uint8_t* bytes, size_t size, uintptr_t address,
                       Instruction* result) {
  ZydisDecodedInstruction decoded;
  if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&Decoder(), nullptr, bytes,
                                                size, &decoded))) {
    return false;
  }
  // Knights Corner's branches on a mask: no processor that runs this has them.
  if (decoded.mnemonic == ZYDIS_MNEMONIC_JKZD ||
      decoded.mnemonic == ZYDIS_MNEMONIC_JKNZD) {
    return false;
  }
  *result = {};
  result->kind = KindOf(decoded);
  result->length = decoded.length;
  ReadMemoryOperand(decoded, address, result);
  const auto& immediate = decoded.raw.imm[0];
  if (immediate.is_relative) {
    result->distance = immediate.offset;
    result->distance_size = immediate.size / 8;
    result->target =
        address + decoded.length + static_cast<uintptr_t>(immediate.value.s);
  }
  return true;
}

}  // namespace retprobe
