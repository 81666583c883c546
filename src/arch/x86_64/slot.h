// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_SLOT_H_
#define RETPROBE_ARCH_X86_64_SLOT_H_

// Code slots: what a hooked function returns to. Slot i of 64 bytes, at
// code + 64 i, belongs to record i at records + 64 i, and both arrays lie at a
// constant distance, so that a record is found from the program counter alone,
// by the slot and by unwinders.
#define RETPROBE_SLOT_SHIFT 6
// Behind the slot's call: what stands in place of the return address.
#define RETPROBE_SLOT_RETURN 7

// SlotRecord
#define RETPROBE_RECORD_RETURN_ADDRESS 0
#define RETPROBE_RECORD_CODE 8

// The slot was entered by its call, so that its return is to be a `ret`.
#define RETPROBE_RECORD_CALLED 1

// Where a slot keeps the function's r11, below the caller's stack pointer.
#define RETPROBE_SLOT_R11 -64

#ifndef __ASSEMBLER__
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace retprobe::arch {

inline constexpr size_t kSlotSize = size_t{1} << RETPROBE_SLOT_SHIFT;

// Writes a slot whose record is `distance` bytes behind it:
//
//   endbr64
//   call *%r11                    if the function is entered through the slot
//   mov %r11, -64(%rsp)           here the function returns
//   lea distance(slot), %r11
//   jmp *RETPROBE_RECORD_CODE(%r11)
inline void WriteSlot(unsigned char* slot, int32_t distance) {
  static constexpr unsigned char kCode[] = {
      0xf3,
      0x0f,
      0x1e,
      0xfa,  // endbr64
      0x41,
      0xff,
      0xd3,  // call
      0x4c,
      0x89,
      0x5c,
      0x24,
      RETPROBE_SLOT_R11 & 0xff,  // mov
      0x4c,
      0x8d,
      0x1d,
      0,
      0,
      0,
      0,  // lea
      0x41,
      0xff,
      0x63,
      RETPROBE_RECORD_CODE,  // jmp
  };
  constexpr int kBehindLea = 19;
  static_assert(sizeof(kCode) == kBehindLea + 4);
  std::memset(slot, 0xcc, kSlotSize);  // int3
  std::memcpy(slot, kCode, sizeof(kCode));
  distance -= kBehindLea;
  std::memcpy(slot + kBehindLea - 4, &distance, sizeof(distance));
}

// The call frame information of a slot, at any of its instructions: the stack
// pointer is the caller's, and the return address is saved in the record,
// (rip & -64) + distance. Returns its length; at most 24 bytes.
//
// It is the program counter's *saved* value that unwinders take for rip: where
// the frame below returns to, or was interrupted.
inline size_t WriteSlotFrame(unsigned char* to, uint32_t distance) {
  unsigned char* at = to;
  *at++ = 0x0c;  // DW_CFA_def_cfa rsp, 0
  *at++ = 7;
  *at++ = 0;
  *at++ = 0x10;  // DW_CFA_expression rip, length
  *at++ = 16;
  unsigned char* length = at++;
  *at++ = 0x80;  // DW_OP_breg16 0
  *at++ = 0;
  *at++ = 0x09;  // DW_OP_const1s -64
  *at++ = static_cast<unsigned char>(-static_cast<int>(kSlotSize));
  *at++ = 0x1a;  // DW_OP_and
  *at++ = 0x0c;  // DW_OP_const4u distance
  std::memcpy(at, &distance, sizeof(distance));
  at += sizeof(distance);
  *at++ = 0x22;  // DW_OP_plus
  *length = static_cast<unsigned char>(at - length - 1);
  return static_cast<size_t>(at - to);
}

// Whether this thread has a hardware shadow stack: its pointer is not zero.
inline bool HasShadowStack() {
  uint64_t pointer = 0;
  asm volatile("rdsspq %0" : "+r"(pointer));  // a NOP where there is none
  return pointer != 0;
}

}  // namespace retprobe::arch
#endif  // __ASSEMBLER__

#endif  // RETPROBE_ARCH_X86_64_SLOT_H_
