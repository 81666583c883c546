// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_INSTRUCTION_H_
#define RETPROBE_PATCH_INSTRUCTION_H_

#include <cstddef>
#include <cstdint>

namespace retprobe {

// The longest x86-64 instruction, in bytes.
inline constexpr size_t kMaxInstruction = 15;

// What moving an instruction depends on. Everything Zydis is in
// instruction.cc, which uses ZydisDecoderInit and ZydisDecoderDecodeInstruction
// only: the preloaded agent supplies these two through a shim.
struct Instruction {
  enum class Kind : uint8_t {
    kPlain,         // moves as it is, but for a rip-relative operand
    kNop,           // of any length
    kEndbr64,       // landing pad
    kBreakpoint,    // int3
    kCall,          // direct
    kIndirectCall,  // through a register or memory
    kJump,          // direct
    kIndirectJump,  // through a register or memory
    kConditional,   // jcc
    kLoop,          // loop, loope, loopne, jrcxz, jecxz: 8 bits of reach only
    kTransaction,   // xbegin: where an abort continues is relative
    kReturn,        // ret, iret
    kStop,          // ud0, ud1, ud2, hlt: control does not pass
    kSystemCall,    // syscall, sysenter, int n: the kernel looks at the pc
  };

  Kind kind;
  uint8_t length;

  // Offset of the ModRM byte, or 0.
  uint8_t modrm;

  // Offset of the 4-byte displacement of a rip-relative operand, or 0.
  uint8_t displacement;

  // Offset and size in bytes of a relative branch's distance, or 0.
  uint8_t distance;
  uint8_t distance_size;

  // The operand is rsp, or memory whose base is rsp, or eip: relative to what
  // moving changes. Of legacy encodings, which branches have.
  bool uses_stack_pointer;
  bool uses_eip;

  // What a direct branch goes to, or the address of a rip-relative operand.
  uintptr_t target;

  // Whether the next instruction is reached only by a branch.
  bool EndsFlow() const {
    return kind == Kind::kJump || kind == Kind::kIndirectJump ||
           kind == Kind::kReturn || kind == Kind::kStop;
  }
  bool IsRelativeBranch() const { return distance_size != 0; }
};

// Decodes the instruction at `bytes`, of which `size` may be read, as if it
// were at `address`. False when the bytes are no instruction.
bool DecodeInstruction(const uint8_t* bytes, size_t size, uintptr_t address,
                       Instruction* result);

}  // namespace retprobe

#endif  // RETPROBE_PATCH_INSTRUCTION_H_
