// SPDX-License-Identifier: Apache-2.0
#include "patch/branch_targets.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "patch/instruction.h"

namespace retprobe {
namespace {

constexpr size_t kChunk = 64 * 1024;

// Bytes a distance of 8 bits can span, with the instruction.
constexpr uintptr_t kShortReach = 128 + kMaxInstruction;

// In code without a range (an unwind table with holes, or none) decoding starts
// this far before a suspect: x86 code falls into step within a few
// instructions.
constexpr uintptr_t kResynchronize = 256;

// What `bytes` would branch to as an instruction at `address`, disregarding
// prefixes; 0 when its opcode is no direct branch. Needs 6 readable bytes.
uintptr_t FarTarget(const uint8_t* bytes, uintptr_t address) {
  size_t opcode;
  if ((bytes[0] & 0xfe) == 0xe8) {
    opcode = 1;  // call, jmp
  } else if ((bytes[0] == 0x0f && (bytes[1] & 0xf0) == 0x80) ||
             (bytes[0] == 0xc7 && bytes[1] == 0xf8)) {
    opcode = 2;  // jcc, xbegin
  } else {
    return 0;
  }
  int32_t distance;
  std::memcpy(&distance, bytes + opcode, sizeof(distance));
  return address + opcode + 4 + static_cast<uintptr_t>(int64_t{distance});
}

uintptr_t ShortTarget(const uint8_t* bytes, uintptr_t address) {
  if ((bytes[0] & 0xf0) != 0x70 && bytes[0] != 0xeb &&
      (bytes[0] & 0xfc) != 0xe0) {
    return 0;
  }
  return address + 2 +
         static_cast<uintptr_t>(int64_t{static_cast<int8_t>(bytes[1])});
}

// Calls `visit(bytes, address)` for every address of [from, to) that can be
// read, with at least 6 bytes to look at.
template <typename Visit>
void ForEachByte(uintptr_t from, uintptr_t to, CodeReader read, Visit visit) {
  std::vector<uint8_t> buffer(std::min<size_t>(kChunk, to - from) + 8);
  for (uintptr_t chunk = from; chunk < to;) {
    const size_t size = std::min<size_t>(kChunk, to - chunk);
    const size_t got = read(chunk, buffer.data(), size + 8);
    std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(got), buffer.end(),
              0xcc);
    for (size_t i = 0; i < size; ++i) visit(buffer.data() + i, chunk + i);
    chunk += size;
  }
}

}  // namespace

BranchTargets::BranchTargets(const CodeRange& extent,
                             absl::Span<const CodeRange> functions)
    : extent_(extent) {
  functions_.reserve(functions.size());
  for (const CodeRange& range : functions) {
    if (range.end - begin() > UINT32_MAX) break;
    functions_.push_back({static_cast<uint32_t>(range.begin - begin()),
                          static_cast<uint32_t>(range.end - begin())});
  }
}

// The first that begins behind `address`.
std::vector<BranchTargets::Range>::const_iterator BranchTargets::Behind(
    uintptr_t address) const {
  if (address < begin()) return functions_.begin();
  return std::upper_bound(functions_.begin(), functions_.end(),
                          address - begin(),
                          [](uintptr_t offset, const Range& range) {
                            return offset < range.begin;
                          });
}

CodeRange BranchTargets::Place(const Range& range) const {
  return {begin() + range.begin, begin() + range.end};
}

CodeRange BranchTargets::FunctionAt(uintptr_t address) const {
  const auto after = Behind(address);
  if (after == functions_.begin()) return {0, 0};
  const CodeRange range = Place(*std::prev(after));
  return address < range.end ? range : CodeRange{0, 0};
}

uintptr_t BranchTargets::NextFunction(uintptr_t address) const {
  const auto after = Behind(address);
  return after == functions_.end() ? 0 : Place(*after).begin;
}

void BranchTargets::Sweep(CodeReader read) {
  const uintptr_t first = begin();
  const uintptr_t size = std::min<uintptr_t>(end() - first, UINT32_MAX);
  ForEachByte(first, first + size, read,
              [&](const uint8_t* bytes, uintptr_t address) {
                const uintptr_t offset = FarTarget(bytes, address) - first;
                if (offset >= size) return;
                suspects_.push_back({static_cast<uint32_t>(offset),
                                     static_cast<uint32_t>(address - first)});
              });
  std::sort(suspects_.begin(), suspects_.end());
  DropEntries();
  swept_ = true;
}

// Nobody asks for branches to where a range begins, half of all: that is
// nowhere inside what is patched, which ends before the next range.
void BranchTargets::DropEntries() {
  auto function = functions_.begin();
  std::erase_if(suspects_, [&](const Suspect& suspect) {
    while (function != functions_.end() && function->begin < suspect.target) {
      ++function;
    }
    return function != functions_.end() && function->begin == suspect.target;
  });
  suspects_.shrink_to_fit();
}

CodeRange BranchTargets::RangeToDecode(uintptr_t suspect) const {
  CodeRange range = FunctionAt(suspect);
  if (range.begin != 0) return range;
  const uintptr_t next = NextFunction(suspect);
  range = {std::max(begin(), suspect - kResynchronize),
           next != 0 ? next : end()};
  const auto after = Behind(suspect);
  if (after != functions_.begin()) {
    range.begin = std::max(range.begin, Place(*std::prev(after)).end);
  }
  return range;
}

bool BranchTargets::Verify(uintptr_t suspect, uintptr_t begin, uintptr_t end,
                           bool calls, CodeReader read, Branch* branch) const {
  const CodeRange range = RangeToDecode(suspect);
  const size_t wanted = suspect + kMaxInstruction - range.begin;
  std::vector<uint8_t> code(wanted);
  code.resize(read(range.begin, code.data(), wanted));
  Instruction instruction;
  for (size_t offset = 0; offset < code.size();) {
    const uintptr_t address = range.begin + offset;
    if (address > suspect) return false;
    if (!DecodeInstruction(code.data() + offset, code.size() - offset, address,
                           &instruction)) {
      ++offset;
      continue;
    }
    offset += instruction.length;
    if (range.begin + offset <= suspect) continue;
    const bool is_call = instruction.kind == Instruction::Kind::kCall;
    if (!instruction.IsRelativeBranch() || (is_call && !calls) ||
        instruction.target < begin || instruction.target >= end) {
      return false;
    }
    *branch = {address, instruction.target, is_call};
    return true;
  }
  return false;
}

void BranchTargets::Add(uintptr_t suspect, uintptr_t begin, uintptr_t end,
                        bool calls, CodeReader read,
                        std::vector<Branch>* branches) const {
  Branch branch;
  if (!Verify(suspect, begin, end, calls, read, &branch)) return;
  for (const Branch& known : *branches) {
    if (known.source == branch.source) return;
  }
  branches->push_back(branch);
}

void BranchTargets::FindIn(uintptr_t from, uintptr_t to, uintptr_t begin,
                           uintptr_t end, bool far, bool calls, CodeReader read,
                           std::vector<Branch>* branches) const {
  ForEachByte(from, to, read, [&](const uint8_t* bytes, uintptr_t address) {
    const uintptr_t target =
        far ? FarTarget(bytes, address) : ShortTarget(bytes, address);
    if (target < begin || target >= end) return;
    Add(address, begin, end, calls, read, branches);
  });
}

std::vector<Branch> BranchTargets::FindBranches(uintptr_t begin, uintptr_t end,
                                                CodeReader read) {
  std::vector<Branch> branches;
  if (begin >= end) return branches;
  const uintptr_t low = std::max(this->begin(), begin - kShortReach);
  const uintptr_t high = std::min(this->end(), end + kShortReach);
  FindIn(low, high, begin, end, /*far=*/false, /*calls=*/true, read, &branches);
  if (!swept_) Sweep(read);
  const uintptr_t first = this->begin();
  auto suspect = std::lower_bound(
      suspects_.begin(), suspects_.end(), begin - first,
      [](const Suspect& s, uintptr_t target) { return s.target < target; });
  for (; suspect != suspects_.end() && suspect->target < end - first;
       ++suspect) {
    Add(first + suspect->source, begin, end, /*calls=*/true, read, &branches);
  }
  return branches;
}

std::vector<Branch> BranchTargets::FindLoops(const CodeRange& function,
                                             uintptr_t target,
                                             CodeReader read) const {
  std::vector<Branch> branches;
  FindIn(function.begin, function.end, target, target + 1,
         /*far=*/false, /*calls=*/false, read, &branches);
  FindIn(function.begin, function.end, target, target + 1,
         /*far=*/true, /*calls=*/false, read, &branches);
  return branches;
}

}  // namespace retprobe
