// SPDX-License-Identifier: Apache-2.0
#include "symbols/frame_program.h"

#include "symbols/dwarf_cursor.h"

namespace retprobe {
namespace {

// DW_CFA_...; the first three have an operand in their lower six bits.
constexpr uint8_t kAdvance = 0x40;
constexpr uint8_t kOffset = 0x80;
constexpr uint8_t kRestore = 0xc0;
constexpr uint8_t kNothing = 0x00;
constexpr uint8_t kAdvance1 = 0x02;
constexpr uint8_t kAdvance2 = 0x03;
constexpr uint8_t kAdvance4 = 0x04;
constexpr uint8_t kOffsetExtended = 0x05;
constexpr uint8_t kRestoreExtended = 0x06;
constexpr uint8_t kUndefined = 0x07;
constexpr uint8_t kSameValue = 0x08;
constexpr uint8_t kRegister = 0x09;
constexpr uint8_t kRemember = 0x0a;
constexpr uint8_t kRestoreState = 0x0b;
constexpr uint8_t kDefine = 0x0c;
constexpr uint8_t kDefineRegister = 0x0d;
constexpr uint8_t kDefineOffset = 0x0e;
constexpr uint8_t kDefineExpression = 0x0f;
constexpr uint8_t kExpression = 0x10;
constexpr uint8_t kOffsetExtendedSigned = 0x11;
constexpr uint8_t kDefineSigned = 0x12;
constexpr uint8_t kDefineOffsetSigned = 0x13;
constexpr uint8_t kValueOffset = 0x14;
constexpr uint8_t kValueOffsetSigned = 0x15;
constexpr uint8_t kValueExpression = 0x16;
constexpr uint8_t kGnuArgumentsSize = 0x2e;
constexpr uint8_t kGnuNegativeOffset = 0x2f;

constexpr uint8_t kShortMask = 0xc0;

void SkipBlock(DwarfCursor* cursor) { cursor->Skip(cursor->Uleb128()); }

}  // namespace

void FrameProgram::Run(const uint8_t* at, const uint8_t* end) {
  DwarfCursor cursor(at);
  while (understood_ && cursor.at() < end && location_ <= address_) {
    const auto instruction = cursor.Read<uint8_t>();
    understood_ = MovesOn(instruction, &cursor) ||
                  SetsRule(instruction, &cursor) ||
                  PassesOver(instruction, &cursor);
  }
}

bool FrameProgram::MovesOn(uint8_t instruction, DwarfCursor* cursor) {
  uint64_t steps;
  if ((instruction & kShortMask) == kAdvance) {
    steps = instruction & ~kShortMask;
  } else if (instruction == kAdvance1) {
    steps = cursor->Read<uint8_t>();
  } else if (instruction == kAdvance2) {
    steps = cursor->Read<uint16_t>();
  } else if (instruction == kAdvance4) {
    steps = cursor->Read<uint32_t>();
  } else {
    return false;
  }
  location_ += steps * code_alignment_;
  return true;
}

bool FrameProgram::SetsRule(uint8_t instruction, DwarfCursor* cursor) {
  switch (instruction) {
    case kDefine:
      rule_.register_number = cursor->Uleb128();
      rule_.offset = static_cast<int64_t>(cursor->Uleb128());
      return true;
    case kDefineRegister:
      rule_.register_number = cursor->Uleb128();
      return true;
    case kDefineOffset:
      rule_.offset = static_cast<int64_t>(cursor->Uleb128());
      return true;
    case kDefineSigned:
      rule_.register_number = cursor->Uleb128();
      rule_.offset = cursor->Sleb128() * data_alignment_;
      return true;
    case kDefineOffsetSigned:
      rule_.offset = cursor->Sleb128() * data_alignment_;
      return true;
    case kDefineExpression:
      SkipBlock(cursor);
      rule_ = FrameRule();
      return true;
    case kRemember:
      if (remembered_count_ == kMostRemembered) return false;
      remembered_[remembered_count_++] = rule_;
      return true;
    case kRestoreState:
      if (remembered_count_ == 0) return false;
      rule_ = remembered_[--remembered_count_];
      return true;
    default:
      return false;
  }
}

// What says where registers are.
bool FrameProgram::PassesOver(uint8_t instruction, DwarfCursor* cursor) {
  if ((instruction & kShortMask) == kRestore) return true;
  if ((instruction & kShortMask) == kOffset) {
    cursor->Uleb128();
    return true;
  }
  switch (instruction) {
    case kNothing:
      return true;
    case kOffsetExtended:
    case kRegister:
    case kValueOffset:
    case kGnuNegativeOffset:
    case kOffsetExtendedSigned:
    case kValueOffsetSigned:  // signed numbers are as long
      cursor->Uleb128();
      cursor->Uleb128();
      return true;
    case kRestoreExtended:
    case kUndefined:
    case kSameValue:
    case kGnuArgumentsSize:
      cursor->Uleb128();
      return true;
    case kExpression:
    case kValueExpression:
      cursor->Uleb128();
      SkipBlock(cursor);
      return true;
    default:
      return false;
  }
}

}  // namespace retprobe
