// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_EH_FRAME_H_
#define RETPROBE_SYMBOLS_EH_FRAME_H_

#include <cstddef>
#include <cstdint>

#include "symbols/frame_program.h"
#include "symbols/unwind_table.h"

namespace retprobe {

// Reads the .eh_frame_hdr and .eh_frame sections as mapped, as laid out in the
// Linux Standard Base, "Exception Frames". Trusts the lengths in them: they are
// what the unwinder of the process trusts too.
// Signals: async-signal-safe; nothing here allocates.
class EhFrame {
 public:
  // `header` is the address of .eh_frame_hdr.
  explicit EhFrame(const void* header);

  // False when the header is of a version or an encoding unknown to us.
  bool valid() const { return frames_ != nullptr; }

  // The bounds in the table's entry for `address`, whether or not they contain
  // it; {0, 0} when all entries lie above. Without a table: the frame
  // description that does contain it.
  FunctionBounds Search(uintptr_t address) const;

  // How the frame of whoever is at `address` is found. False when no frame
  // description contains it, or that is not understood.
  bool FindFrame(uintptr_t address, FrameRule* rule) const;

  // Calls visit(FunctionBounds) for each frame description.
  template <typename Visit>
  void ForEach(Visit visit) const {
    if (table_ != nullptr) {
      for (size_t i = 0; i < count_; ++i) visit(Bounds(Description(i)));
      return;
    }
    for (const uint8_t* at = NextDescription(frames_); at != nullptr;
         at = NextDescription(Behind(at))) {
      visit(Bounds(at));
    }
  }

 private:
  // What the linker sorts: both are offsets from the header.
  struct TableEntry {
    int32_t function;
    int32_t description;
  };

  // The description that Search() is about, or null.
  const uint8_t* SearchDescription(uintptr_t address) const;

  const uint8_t* Description(size_t index) const {
    return header_ + table_[index].description;
  }
  // The first frame description at or behind `at`; null at the terminator.
  static const uint8_t* NextDescription(const uint8_t* at);
  static const uint8_t* Behind(const uint8_t* entry);
  static FunctionBounds Bounds(const uint8_t* description);

  const uint8_t* header_;
  const uint8_t* frames_ = nullptr;
  const TableEntry* table_ = nullptr;
  size_t count_ = 0;
};

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_EH_FRAME_H_
