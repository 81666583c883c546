// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PATCH_BRANCH_TARGETS_H_
#define RETPROBE_PATCH_BRANCH_TARGETS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "patch/entry_patch.h"

namespace retprobe {

// Copies code as it was before any patch: returns how many of `size` bytes at
// `address` could be read.
using CodeReader =
    absl::FunctionRef<size_t(uintptr_t address, uint8_t* bytes, size_t size)>;

// A direct branch: where the instruction stands and where it goes.
struct Branch {
  uintptr_t source;
  uintptr_t target;
  bool is_call;
};

// Finds who branches where in one module's code.
//
// Decoding everything would cost 100 ns an instruction. Instead the first
// question makes one pass over the bytes, at every offset, for what could be
// the opcode of a branch with a 32-bit distance, and keeps where it goes: no
// branch is missed whatever the alignment of instructions, and one that is
// there by chance is found out by decoding the function it seems to come from.
// Branches with 8 bits of distance are looked for in the neighbourhood only.
class BranchTargets {
 public:
  // All of `extent` is searched; `functions`, ascending, say where decoding
  // can begin. They may leave gaps, and may be empty.
  BranchTargets(const CodeRange& extent, absl::Span<const CodeRange> functions);

  uintptr_t begin() const { return extent_.begin; }
  uintptr_t end() const { return extent_.end; }
  bool Contains(uintptr_t address) const {
    return address >= begin() && address < end();
  }

  // The range that contains `address`, or {0, 0}.
  CodeRange FunctionAt(uintptr_t address) const;

  // Where the first range begins that begins behind `address`, or 0.
  uintptr_t NextFunction(uintptr_t address) const;

  // The direct branches from this module to one of the addresses [begin, end),
  // but for far ones to where a range of `functions` begins.
  std::vector<Branch> FindBranches(uintptr_t begin, uintptr_t end,
                                   CodeReader read);

  // The branches, not calls, to `target` from within `function`.
  std::vector<Branch> FindLoops(const CodeRange& function, uintptr_t target,
                                CodeReader read) const;

 private:
  // Offsets from begin(), here and below; of code of more than 4 GiB, the
  // first.
  struct Range {
    uint32_t begin;
    uint32_t end;
  };

  void Sweep(CodeReader read);
  void DropEntries();
  void FindIn(uintptr_t from, uintptr_t to, uintptr_t begin, uintptr_t end,
              bool far, bool calls, CodeReader read,
              std::vector<Branch>* branches) const;
  void Add(uintptr_t suspect, uintptr_t begin, uintptr_t end, bool calls,
           CodeReader read, std::vector<Branch>* branches) const;
  bool Verify(uintptr_t suspect, uintptr_t begin, uintptr_t end, bool calls,
              CodeReader read, Branch* branch) const;
  std::vector<Range>::const_iterator Behind(uintptr_t address) const;
  CodeRange Place(const Range& range) const;
  CodeRange RangeToDecode(uintptr_t suspect) const;

  CodeRange extent_;
  std::vector<Range> functions_;  // ascending
  struct Suspect {
    uint32_t target;
    uint32_t source;
    bool operator<(const Suspect& other) const { return target < other.target; }
  };
  std::vector<Suspect> suspects_;  // ascending
  bool swept_ = false;
};

}  // namespace retprobe

#endif  // RETPROBE_PATCH_BRANCH_TARGETS_H_
