// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_SLOT_FILE_H_
#define RETPROBE_RETHOOK_SLOT_FILE_H_

#include <cstddef>
#include <vector>

#include "rethook/slots.h"

namespace retprobe {

// The ELF module that code slots lie in: one page of headers and tables, then
// address space, for code and for records. The file has the page, and behind it
// the code of some slots.
struct SlotFile {
  static constexpr size_t kCode = 4096;  // offset of the first slot
  // Slots that the file has the code of: a mapping each for that many.
  static constexpr size_t kCodeBytes = size_t{1} << 20;
  static constexpr size_t kModuleBytes =
      kCode + SlotSpace::kDistance + SlotSpace::kSlots * sizeof(SlotRecord);
};
static_assert(SlotSpace::kCodeBytes % SlotFile::kCodeBytes == 0);
static_assert(SlotFile::kModuleBytes < size_t{1} << 31,
              "tables have 32-bit offsets");

std::vector<unsigned char> MakeSlotFile();

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_SLOT_FILE_H_
