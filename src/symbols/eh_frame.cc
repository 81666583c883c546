// SPDX-License-Identifier: Apache-2.0
#include "symbols/eh_frame.h"

#include <cstring>

namespace retprobe {
namespace {

// Pointer encodings: the low four bits say how it is stored, the next three
// what it is relative to.
constexpr uint8_t kFormatMask = 0x0f;
constexpr uint8_t kAbsolute = 0x00;
constexpr uint8_t kUleb128 = 0x01;
constexpr uint8_t kUnsigned2 = 0x02;
constexpr uint8_t kUnsigned4 = 0x03;
constexpr uint8_t kUnsigned8 = 0x04;
constexpr uint8_t kSleb128 = 0x09;
constexpr uint8_t kSigned2 = 0x0a;
constexpr uint8_t kSigned4 = 0x0b;
constexpr uint8_t kSigned8 = 0x0c;
constexpr uint8_t kBaseMask = 0x70;
constexpr uint8_t kPcRelative = 0x10;
constexpr uint8_t kDataRelative = 0x30;
constexpr uint8_t kIndirect = 0x80;
constexpr uint8_t kOmitted = 0xff;

class Cursor {
 public:
  explicit Cursor(const uint8_t* at) : at_(at) {}

  const uint8_t* at() const { return at_; }
  void Skip(size_t count) { at_ += count; }

  template <typename T>
  T Read() {
    T value;
    std::memcpy(&value, at_, sizeof(value));
    at_ += sizeof(value);
    return value;
  }

  uint64_t Uleb128() {
    unsigned bits;
    return Leb128(&bits);
  }

  int64_t Sleb128() {
    unsigned bits;
    uint64_t value = Leb128(&bits);
    if (bits < 64 && (at_[-1] & 0x40) != 0) value |= ~uint64_t{0} << bits;
    return static_cast<int64_t>(value);
  }

  // A pointer as `encoding` says; `data` is what data-relative ones start
  // from. False for an encoding that no linker uses here.
  bool Pointer(uint8_t encoding, uintptr_t data, uintptr_t* value) {
    const uintptr_t start = reinterpret_cast<uintptr_t>(at_);
    if (!Stored(encoding & kFormatMask, value)) return false;
    switch (encoding & kBaseMask) {
      case 0:
        break;
      case kPcRelative:
        *value += start;
        break;
      case kDataRelative:
        *value += data;
        break;
      default:
        return false;
    }
    if ((encoding & kIndirect) != 0) {
      std::memcpy(value, reinterpret_cast<void*>(*value), sizeof(*value));
    }
    return true;
  }

  bool Stored(uint8_t format, uintptr_t* value) {
    switch (format) {
      case kAbsolute:
      case kUnsigned8:
      case kSigned8:
        *value = Read<uint64_t>();
        return true;
      case kUleb128:
        *value = Uleb128();
        return true;
      case kSleb128:
        *value = static_cast<uintptr_t>(Sleb128());
        return true;
      case kUnsigned2:
        *value = Read<uint16_t>();
        return true;
      case kSigned2:
        *value = static_cast<uintptr_t>(intptr_t{Read<int16_t>()});
        return true;
      case kUnsigned4:
        *value = Read<uint32_t>();
        return true;
      case kSigned4:
        *value = static_cast<uintptr_t>(intptr_t{Read<int32_t>()});
        return true;
      default:
        return false;
    }
  }

 private:
  uint64_t Leb128(unsigned* bits) {
    uint64_t value = 0;
    *bits = 0;
    uint8_t byte;
    do {
      byte = *at_++;
      if (*bits < 64) value |= uint64_t{byte & 0x7fu} << *bits;
      *bits += 7;
    } while ((byte & 0x80) != 0);
    return value;
  }

  const uint8_t* at_;
};

// The length field of an entry and where its content starts; 0 is the
// terminator.
uint64_t EntryLength(Cursor* cursor) {
  const uint32_t length = cursor->Read<uint32_t>();
  return length == 0xffffffff ? cursor->Read<uint64_t>() : length;
}

// How the frame descriptions of the CIE at `common` encode their addresses.
// kOmitted when the CIE is not understood.
uint8_t AddressEncoding(const uint8_t* common) {
  Cursor cursor(common);
  EntryLength(&cursor);
  if (cursor.Read<uint32_t>() != 0) return kOmitted;  // not a CIE
  const uint8_t version = cursor.Read<uint8_t>();
  const char* augmentation = reinterpret_cast<const char*>(cursor.at());
  cursor.Skip(std::strlen(augmentation) + 1);
  if (augmentation[0] != 'z') {
    return augmentation[0] == '\0' ? kAbsolute : kOmitted;
  }
  if (version >= 4) cursor.Skip(2);  // address size, segment selector size
  cursor.Uleb128();                  // code alignment
  cursor.Sleb128();                  // data alignment
  if (version == 1) {
    cursor.Skip(1);  // return address register
  } else {
    cursor.Uleb128();
  }
  cursor.Uleb128();  // length of the augmentation data
  for (const char* c = augmentation + 1; *c != '\0'; ++c) {
    uintptr_t ignored;
    switch (*c) {
      case 'R':
        return cursor.Read<uint8_t>();
      case 'L':
        cursor.Skip(1);
        break;
      case 'P': {
        // Not through Pointer(), which would follow an indirect one.
        const uint8_t encoding = cursor.Read<uint8_t>();
        if (!cursor.Stored(encoding & kFormatMask, &ignored)) return kOmitted;
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
  return kAbsolute;
}

}  // namespace

EhFrame::EhFrame(const void* header)
    : header_(static_cast<const uint8_t*>(header)) {
  if (header_ == nullptr) return;
  Cursor cursor(header_);
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

FunctionBounds EhFrame::Search(uintptr_t address) const {
  if (table_ == nullptr) {
    FunctionBounds found{0, 0};
    ForEach([&](FunctionBounds bounds) {
      if (address >= bounds.begin && address < bounds.end) found = bounds;
    });
    return found;
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
  return low == 0 ? FunctionBounds{0, 0} : Bounds(Description(low - 1));
}

const uint8_t* EhFrame::NextDescription(const uint8_t* at) {
  while (true) {
    Cursor cursor(at);
    if (EntryLength(&cursor) == 0) return nullptr;
    if (cursor.Read<uint32_t>() != 0) return at;
    at = Behind(at);
  }
}

const uint8_t* EhFrame::Behind(const uint8_t* entry) {
  Cursor cursor(entry);
  const uint64_t length = EntryLength(&cursor);
  return cursor.at() + length;
}

FunctionBounds EhFrame::Bounds(const uint8_t* description) {
  Cursor cursor(description);
  if (EntryLength(&cursor) == 0) return {0, 0};
  const uint8_t* field = cursor.at();
  const uint32_t distance = cursor.Read<uint32_t>();
  if (distance == 0) return {0, 0};  // a CIE
  const uint8_t encoding = AddressEncoding(field - distance);
  uintptr_t begin;
  uintptr_t size;
  if (encoding == kOmitted || !cursor.Pointer(encoding, 0, &begin) ||
      !cursor.Stored(encoding & kFormatMask, &size)) {
    return {0, 0};
  }
  return {begin, begin + size};
}

}  // namespace retprobe
