// SPDX-License-Identifier: Apache-2.0
#include "symbols/unwind_table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "loaded_modules.h"
#include "sample.h"
#include "symbols/eh_frame.h"
#include "symbols/function.h"
#include "symbols/module_symbols.h"

namespace retprobe {
namespace {

struct Comparison {
  size_t functions = 0;  // with a size in the symbol table
  size_t equal = 0;      // bounds equal to the symbol's
  size_t within = 0;     // the symbol is part of the bounds
};

Comparison Compare(const Module& module) {
  Comparison result;
  const absl::StatusOr<ModuleSymbols> symbols = ModuleSymbols::Read(module);
  REQUIRE(symbols.ok());
  for (const ElfSymbol& symbol : symbols->symbols()) {
    if (symbol.size == 0) continue;
    ++result.functions;
    const FunctionBounds bounds = BoundsFromUnwindTable(symbol.address);
    const uintptr_t end = symbol.address + symbol.size;
    if (bounds.begin == symbol.address && bounds.end == end) {
      ++result.equal;
    } else if (bounds.begin <= symbol.address && bounds.end >= end) {
      ++result.within;
    }
  }
  return result;
}

TEST_CASE("bounds equal the symbols' sizes for nearly all functions") {
  for (const std::string& name : std::vector<std::string>{
           "libc.so.6", "libstdc++.so.6", "unwind_table_test"}) {
    const Comparison result = Compare(ModuleNamed(name));
    MESSAGE(name << ": " << result.functions << " functions, " << result.equal
                 << " equal, " << result.within << " within");
    CHECK(result.functions > 50);
    CHECK(result.equal * 100 >= result.functions * 99);
  }
}

TEST_CASE("every byte of a function leads to the same bounds") {
  uintptr_t begin = reinterpret_cast<uintptr_t>(&sample_unsized);
  for (uintptr_t at = begin; at < begin + 12; ++at) {
    const FunctionBounds bounds = BoundsFromUnwindTable(at);
    CHECK(bounds.begin == begin);
    CHECK(bounds.end == begin + 12);
  }
  CHECK(BoundsFromUnwindTable(begin + 12).end == 0);
  CHECK(BoundsFromUnwindTable(begin - 1).begin != begin);
}

TEST_CASE("code without an unwind entry has no bounds") {
  CHECK(
      BoundsFromUnwindTable(reinterpret_cast<uintptr_t>(&sample_unknown)).end ==
      0);
  int on_stack = 0;
  CHECK(BoundsFromUnwindTable(reinterpret_cast<uintptr_t>(&on_stack)).end == 0);
  CHECK(BoundsFromUnwindTable(0).end == 0);
  CHECK(BoundsFromUnwindTable(UINTPTR_MAX).end == 0);
  CHECK(UnwindTableRanges(16).empty());
}

TEST_CASE("ranges ascend, do not overlap and hold every function") {
  const Module libc = ModuleNamed("libc.so.6");
  const std::vector<FunctionBounds> ranges = UnwindTableRanges(libc.begin);
  REQUIRE(ranges.size() > 1000);
  for (size_t i = 0; i < ranges.size(); ++i) {
    REQUIRE(ranges[i].begin < ranges[i].end);
    REQUIRE(libc.Contains(ranges[i].begin));
    REQUIRE(ranges[i].end <= libc.end);
    if (i > 0) REQUIRE(ranges[i - 1].end <= ranges[i].begin);
  }
  size_t checked = 0;
  for (const Function& function : FunctionsOf(libc)) {
    const FunctionBounds bounds = BoundsFromUnwindTable(function.address);
    if (bounds.end == 0) continue;
    const auto above = std::upper_bound(
        ranges.begin(), ranges.end(), function.address,
        [](uintptr_t at, const auto& range) { return at < range.begin; });
    REQUIRE(above != ranges.begin());
    // libc's do not overlap, but many touch: none may have been merged.
    REQUIRE((above - 1)->begin == bounds.begin);
    REQUIRE((above - 1)->end == bounds.end);
    ++checked;
  }
  CHECK(checked > 1000);
}

// Sections by hand: one CIE without augmentation (so absolute addresses), one
// frame description for 0x1000..0x1020, the terminator; a header without table.
struct Section {
  uint32_t frames[11] = {
      // Length, id; version 1, "", alignments 1 and -8; register 16, padding.
      12, 0, 0x78010001, 16,
      // Length, distance to the CIE, begin and size as 64 bits.
      20, 20, 0x1000, 0, 0x20, 0,
      // Terminator.
      0};
  // Version 1; the address of the frames is absolute; no count, no table.
  uint32_t header[3] = {0xffff0001};

  Section() {
    const uint32_t* address = frames;
    std::memcpy(&header[1], &address, sizeof(address));
  }
};

TEST_CASE("without a table the frame descriptions are walked") {
  const Section section;
  const EhFrame frame(section.header);
  REQUIRE(frame.valid());
  CHECK(frame.Search(0x1000).begin == 0x1000);
  CHECK(frame.Search(0x101f).end == 0x1020);
  CHECK(frame.Search(0x1020).end == 0);
  size_t count = 0;
  frame.ForEach([&count](FunctionBounds) { ++count; });
  CHECK(count == 1);
}

TEST_CASE("a header of an unknown version is refused") {
  Section section;
  section.header[0] = 0xffff0002;
  CHECK_FALSE(EhFrame(section.header).valid());
}

}  // namespace
}  // namespace retprobe
