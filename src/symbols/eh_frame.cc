// SPDX-License-Identifier: Apache-2.0
#include "symbols/eh_frame.h"

#include <cstring>

#include "symbols/dwarf_cursor.h"
#include "symbols/frame_program.h"

namespace retprobe {
namespace {

// What frame descriptions have in common.
struct Common {
  uint8_t encoding = kOmitted;  // of addresses; kOmitted: not understood
  bool augmented = false;       // descriptions say how long their data is
  uint64_t code_alignment = 0;
  int64_t data_alignment = 0;
  const uint8_t* instructions = nullptr;
  const uint8_t* end = nullptr;
};

// Takes in the augmentation data behind its length; returns how addresses are
// encoded.
uint8_t AddressEncoding(const char* augmentation, DwarfCursor* cursor) {
  uint8_t encoding = kAbsolute;
  for (const char* c = augmentation + 1; *c != '\0'; ++c) {
    uintptr_t ignored;
    switch (*c) {
      case 'R':
        encoding = cursor->Read<uint8_t>();
        break;
      case 'L':
        cursor->Skip(1);
        break;
      case 'P': {
        // Not through Pointer(), which would follow an indirect one.
        const uint8_t stored = cursor->Read<uint8_t>();
        if (!cursor->Stored(stored & kFormatMask, &ignored)) return kOmitted;
        break;
      }
      case 'S':
      case 'B':
      case 'G':
        break;
      default:
        return kOmitted;
    }
  }
  return encoding;
}

Common ReadCommon(const uint8_t* entry) {
  Common common;
  DwarfCursor cursor(entry);
  const uint64_t length = EntryLength(&cursor);
  common.end = cursor.at() + length;
  if (cursor.Read<uint32_t>() != 0) return common;  // not a CIE
  const uint8_t version = cursor.Read<uint8_t>();
  const char* augmentation = reinterpret_cast<const char*>(cursor.at());
  cursor.Skip(std::strlen(augmentation) + 1);
  common.augmented = augmentation[0] == 'z';
  if (!common.augmented && augmentation[0] != '\0') return common;
  if (version >= 4) cursor.Skip(2);  // address size, segment selector size
  common.code_alignment = cursor.Uleb128();
  common.data_alignment = cursor.Sleb128();
  if (version == 1) {
    cursor.Skip(1);  // return address register
  } else {
    cursor.Uleb128();
  }
  common.instructions = cursor.at();
  common.encoding = kAbsolute;
  if (common.augmented) {
    const uint64_t size = cursor.Uleb128();
    common.instructions = cursor.at() + size;
    common.encoding = AddressEncoding(augmentation, &cursor);
  }
  return common;
}

}  // namespace

EhFrame::EhFrame(const void* header)
    : header_(static_cast<const uint8_t*>(header)) {
  if (header_ == nullptr) return;
  DwarfCursor cursor(header_);
  if (cursor.Read<uint8_t>() != 1) return;  // version
  const uint8_t frames_encoding = cursor.Read<uint8_t>();
  const uint8_t count_encoding = cursor.Read<uint8_t>();
  const uint8_t table_encoding = cursor.Read<uint8_t>();
  const uintptr_t base = reinterpret_cast<uintptr_t>(header_);
  uintptr_t frames;
  if (frames_encoding == kOmitted ||
      !cursor.Pointer(frames_encoding, base, &frames)) {
    return;
  }
  frames_ = reinterpret_cast<const uint8_t*>(frames);
  uintptr_t count;
  if (count_encoding == kOmitted ||
      table_encoding != (kDataRelative | kSigned4) ||
      !cursor.Pointer(count_encoding, base, &count)) {
    return;
  }
  table_ = reinterpret_cast<const TableEntry*>(cursor.at());
  count_ = count;
}

const uint8_t* EhFrame::SearchDescription(uintptr_t address) const {
  if (table_ == nullptr) {
    for (const uint8_t* at = NextDescription(frames_); at != nullptr;
         at = NextDescription(Behind(at))) {
      const FunctionBounds bounds = Bounds(at);
      if (address >= bounds.begin && address < bounds.end) return at;
    }
    return nullptr;
  }
  const uintptr_t base = reinterpret_cast<uintptr_t>(header_);
  size_t low = 0;  // the entries below `low` start at or below `address`
  size_t high = count_;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (base + static_cast<intptr_t>(table_[middle].function) <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low == 0 ? nullptr : Description(low - 1);
}

FunctionBounds EhFrame::Search(uintptr_t address) const {
  const uint8_t* description = SearchDescription(address);
  return description == nullptr ? FunctionBounds{0, 0} : Bounds(description);
}

bool EhFrame::FindFrame(uintptr_t address, FrameRule* rule) const {
  const uint8_t* description = SearchDescription(address);
  if (description == nullptr) return false;
  const FunctionBounds bounds = Bounds(description);
  if (address < bounds.begin || address >= bounds.end) return false;
  DwarfCursor cursor(description);
  const uint64_t length = EntryLength(&cursor);
  const uint8_t* const end = cursor.at() + length;
  const uint8_t* const field = cursor.at();
  const Common common = ReadCommon(field - cursor.Read<uint32_t>());
  uintptr_t ignored;
  cursor.Stored(common.encoding & kFormatMask, &ignored);
  cursor.Stored(common.encoding & kFormatMask, &ignored);
  if (common.augmented) cursor.Skip(cursor.Uleb128());
  FrameProgram program(bounds.begin, address, common.code_alignment,
                       common.data_alignment);
  program.Run(common.instructions, common.end);
  program.Run(cursor.at(), end);
  *rule = program.rule();
  return program.understood();
}

const uint8_t* EhFrame::NextDescription(const uint8_t* at) {
  while (true) {
    DwarfCursor cursor(at);
    if (EntryLength(&cursor) == 0) return nullptr;
    if (cursor.Read<uint32_t>() != 0) return at;
    at = Behind(at);
  }
}

const uint8_t* EhFrame::Behind(const uint8_t* entry) {
  DwarfCursor cursor(entry);
  const uint64_t length = EntryLength(&cursor);
  return cursor.at() + length;
}

FunctionBounds EhFrame::Bounds(const uint8_t* description) {
  DwarfCursor cursor(description);
  if (EntryLength(&cursor) == 0) return {0, 0};
  const uint8_t* field = cursor.at();
  const uint32_t distance = cursor.Read<uint32_t>();
  if (distance == 0) return {0, 0};  // a CIE
  const uint8_t encoding = ReadCommon(field - distance).encoding;
  uintptr_t begin;
  uintptr_t size;
  if (encoding == kOmitted || !cursor.Pointer(encoding, 0, &begin) ||
      !cursor.Stored(encoding & kFormatMask, &size)) {
    return {0, 0};
  }
  return {begin, begin + size};
}

}  // namespace retprobe
