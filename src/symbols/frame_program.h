// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_FRAME_PROGRAM_H_
#define RETPROBE_SYMBOLS_FRAME_PROGRAM_H_

#include <cstddef>
#include <cstdint>

namespace retprobe {

class DwarfCursor;

// Where a frame's canonical address is: `offset` behind what a register holds.
struct FrameRule {
  static constexpr uint64_t kExpression = UINT64_MAX;
  uint64_t register_number = kExpression;  // or what an expression computes
  int64_t offset = 0;
};

// Runs the instructions of a frame description up to an address, for where the
// frame is; the registers' places are passed over (DWARF 5, section 6.4.2).
// Signals: async-signal-safe; allocates nothing.
class FrameProgram {
 public:
  // For a description that begins at `begin`.
  FrameProgram(uintptr_t begin, uintptr_t address, uint64_t code_alignment,
               int64_t data_alignment)
      : location_(begin),
        address_(address),
        code_alignment_(code_alignment),
        data_alignment_(data_alignment) {}

  void Run(const uint8_t* at, const uint8_t* end);

  const FrameRule& rule() const { return rule_; }
  bool understood() const { return understood_; }

 private:
  static constexpr size_t kMostRemembered = 8;

  // Whether they know the instruction: then it is done.
  bool MovesOn(uint8_t instruction, DwarfCursor* cursor);
  bool SetsRule(uint8_t instruction, DwarfCursor* cursor);
  bool PassesOver(uint8_t instruction, DwarfCursor* cursor);

  uintptr_t location_;
  const uintptr_t address_;
  const uint64_t code_alignment_;
  const int64_t data_alignment_;
  FrameRule rule_;
  FrameRule remembered_[kMostRemembered];
  size_t remembered_count_ = 0;
  bool understood_ = true;
};

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_FRAME_PROGRAM_H_
