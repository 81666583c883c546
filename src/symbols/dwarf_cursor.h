// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_DWARF_CURSOR_H_
#define RETPROBE_SYMBOLS_DWARF_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace retprobe {

// Pointer encodings: the low four bits say how it is stored, the next three
// what it is relative to.
inline constexpr uint8_t kFormatMask = 0x0f;
inline constexpr uint8_t kAbsolute = 0x00;
inline constexpr uint8_t kUleb128 = 0x01;
inline constexpr uint8_t kUnsigned2 = 0x02;
inline constexpr uint8_t kUnsigned4 = 0x03;
inline constexpr uint8_t kUnsigned8 = 0x04;
inline constexpr uint8_t kSleb128 = 0x09;
inline constexpr uint8_t kSigned2 = 0x0a;
inline constexpr uint8_t kSigned4 = 0x0b;
inline constexpr uint8_t kSigned8 = 0x0c;
inline constexpr uint8_t kBaseMask = 0x70;
inline constexpr uint8_t kPcRelative = 0x10;
inline constexpr uint8_t kDataRelative = 0x30;
inline constexpr uint8_t kIndirect = 0x80;
inline constexpr uint8_t kOmitted = 0xff;

// Reads what stands in unwind tables one after the other. Trusts the lengths.
// Signals: async-signal-safe.
class DwarfCursor {
 public:
  explicit DwarfCursor(const uint8_t* at) : at_(at) {}

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
inline uint64_t EntryLength(DwarfCursor* cursor) {
  const uint32_t length = cursor->Read<uint32_t>();
  return length == 0xffffffff ? cursor->Read<uint64_t>() : length;
}

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_DWARF_CURSOR_H_
