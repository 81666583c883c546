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

// A function, and a part of it that lies elsewhere and goes on in its frame.
// Places are named for the stack pointer's distance from the return address.
asm(R"(
  .text
  .type frame_whole, @function
frame_whole:
  .cfi_startproc
  push %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset %rbp, -16
frame_pushed:
  mov %rsp, %rbp
  .cfi_def_cfa_register %rbp
frame_by_rbp:
  .cfi_remember_state
  .cfi_escape 0x2e, 0x90, 0x01          # DW_CFA_GNU_args_size 144
  .cfi_escape 0x10, 3, 2, 0x76, 0x78    # rbx is at rbp - 8
  .skip 300, 0x90
  pop %rbp
  .cfi_def_cfa %rsp, 8
frame_popped:
  ret
  .cfi_restore_state
frame_by_rbp_again:
  .skip 70000, 0x90
  leave
  .cfi_def_cfa %rsp, 8
frame_left:
  jmp *%rax
  .cfi_escape 0x0f, 3, 0x77, 8, 6       # the frame is where rsp + 8 says
frame_computed:
  nop
  .cfi_endproc
  .type frame_part, @function
frame_part:
  .cfi_startproc
  .cfi_def_cfa_offset 48
  mov $1, %eax
  add $40, %rsp
  .cfi_def_cfa_offset 8
frame_part_end:
  ret
  .cfi_endproc
)");
extern "C" const char frame_whole[], frame_pushed[], frame_by_rbp[],
    frame_popped[], frame_by_rbp_again[], frame_left[], frame_computed[],
    frame_part[], frame_part_end[];

namespace retprobe {
namespace {

bool Inside(const char* place) {
  return IsInsideFrame(reinterpret_cast<uintptr_t>(place));
}

TEST_CASE("code that goes on in a frame is told from a function's entry") {
  CHECK_FALSE(Inside(frame_whole));
  CHECK(Inside(frame_pushed));
  CHECK(Inside(frame_by_rbp));
  CHECK(Inside(frame_by_rbp + 299));
  CHECK_FALSE(Inside(frame_popped));
  CHECK(Inside(frame_by_rbp_again));
  CHECK(Inside(frame_by_rbp_again + 69999));
  CHECK_FALSE(Inside(frame_left));
  CHECK_FALSE(Inside(frame_computed));  // nobody knows
  CHECK(Inside(frame_part));
  CHECK_FALSE(Inside(frame_part_end));
  CHECK_FALSE(Inside(reinterpret_cast<const char*>(&sample_unknown)));
  CHECK_FALSE(Inside(nullptr));
}

TEST_CASE("no function of the C and C++ libraries begins inside a frame") {
  for (const char* name : {"libc.so.6", "libstdc++.so.6"}) {
    size_t inside = 0;
    size_t pushing = 0;
    size_t followed = 0;
    for (const Function& function : FunctionsOf(ModuleNamed(name))) {
      if (function.address == 0) continue;
      inside += IsInsideFrame(function.address);
      const auto* code = reinterpret_cast<const uint8_t*>(function.address);
      constexpr uint8_t kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
      if (std::memcmp(code, kEndbr64, 4) == 0) code += 4;
      // push %rbp, push %rbx
      if (code[0] != 0x55 && code[0] != 0x53) continue;
      ++pushing;
      followed += IsInsideFrame(reinterpret_cast<uintptr_t>(code + 1));
    }
    MESSAGE(std::string(name) << ": " << inside << ", after a push " << followed
                              << " of " << pushing);
    CHECK(inside <= 1);                     // what a signal handler returns to
    CHECK(100 * followed >= 99 * pushing);  // some assembler does not tell
    CHECK(pushing > 100);
  }
}

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
    MESSAGE(std::string(name)
            << ": " << result.functions << " functions, " << result.equal
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
