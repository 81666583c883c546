// SPDX-License-Identifier: Apache-2.0
#include "symbols/unwind_table.h"

#include <dlfcn.h>

#include <algorithm>

#include "symbols/eh_frame.h"

namespace retprobe {
namespace {

// _dl_find_object reads the lock-free table that glibc keeps for the unwinder
// since 2.35; on x86-64 it gives the address of .eh_frame_hdr.
EhFrame FrameOf(uintptr_t address) {
  dl_find_object object;
  if (_dl_find_object(reinterpret_cast<void*>(address), &object) != 0) {
    return EhFrame(nullptr);
  }
  return EhFrame(object.dlfo_eh_frame);
}

}  // namespace

FunctionBounds BoundsFromUnwindTable(uintptr_t address) {
  const EhFrame frame = FrameOf(address);
  if (!frame.valid()) return {0, 0};
  const FunctionBounds bounds = frame.Search(address);
  if (address < bounds.begin || address >= bounds.end) return {0, 0};
  return bounds;
}

bool IsInsideFrame(uintptr_t address) {
  constexpr uint64_t kStackPointer = 7;
  const EhFrame frame = FrameOf(address);
  FrameRule rule;
  if (!frame.valid() || !frame.FindFrame(address, &rule) ||
      rule.register_number == FrameRule::kExpression) {
    return false;
  }
  return rule.register_number != kStackPointer ||
         rule.offset != static_cast<int64_t>(sizeof(uintptr_t));
}

std::vector<FunctionBounds> UnwindTableRanges(uintptr_t address) {
  std::vector<FunctionBounds> ranges;
  const EhFrame frame = FrameOf(address);
  if (!frame.valid()) return ranges;
  frame.ForEach([&ranges](FunctionBounds bounds) {
    if (bounds.begin < bounds.end) ranges.push_back(bounds);
  });
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  size_t kept = 0;
  for (const FunctionBounds& range : ranges) {
    if (kept > 0 && range.begin < ranges[kept - 1].end) {
      ranges[kept - 1].end = std::max(ranges[kept - 1].end, range.end);
    } else {
      ranges[kept++] = range;
    }
  }
  ranges.resize(kept);
  return ranges;
}

}  // namespace retprobe
