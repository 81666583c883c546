// SPDX-License-Identifier: Apache-2.0
#include "patch/relocation_fuzz.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "patch/equivalence.h"
#include "patch/relocate.h"
#include "patch/relocation_run.h"

namespace retprobe {
namespace {

// What random bytes seldom are: branches of every kind, and rip-relative
// operands. Zero bytes at the end are made up.
struct Shape {
  uint8_t length;
  uint8_t bytes[11];
};
constexpr Shape kShapes[] = {
    {2, {0x74}},                    // je, short; the condition varies
    {6, {0x0f, 0x84}},              // je, near
    {2, {0xeb}},                    // jmp, short
    {5, {0xe9}},                    // jmp, near
    {5, {0xe8}},                    // call
    {6, {0xff, 0x15}},              // call *(%rip)
    {6, {0xff, 0x25}},              // jmp *(%rip)
    {2, {0xe2}},                    // loop
    {2, {0xe3}},                    // jrcxz
    {3, {0x67, 0xe3}},              // jecxz
    {6, {0xc7, 0xf8}},              // xbegin
    {7, {0x48, 0x8b, 0x05}},        // mov (%rip), %rax
    {7, {0x48, 0x89, 0x15}},        // mov %rdx, (%rip)
    {7, {0x48, 0x8d, 0x1d}},        // lea (%rip), %rbx
    {7, {0x80, 0x3d}},              // cmpb $n, (%rip)
    {10, {0x81, 0x05}},             // addl $n, (%rip)
    {11, {0x48, 0xc7, 0x05}},       // movq $n, (%rip)
    {8, {0x48, 0x0f, 0xaf, 0x0d}},  // imul (%rip), %rcx
    {8, {0xc5, 0xfe, 0x6f, 0x05}},  // vmovdqu (%rip), %ymm0
    {10, {0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x05}},  // vmovdqu64 (%rip), %zmm0
    {2, {0xff, 0xd0}},                           // call *%rax
    {3, {0x41, 0xff, 0xd4}},                     // call *%r12
    {3, {0x41, 0xff, 0xd3}},                     // call *%r11
    {2, {0xff, 0xd4}},                           // call *%rsp
    {5, {0x41, 0xff, 0x54, 0x24, 0x08}},         // call *8(%r12)
    {4, {0xff, 0x54, 0x24, 0x08}},               // call *8(%rsp)
    {4, {0xf3, 0x0f, 0x1e, 0xfa}},               // endbr64
    {3, {0x48, 0x89, 0xe5}},                     // mov %rsp, %rbp
    {1, {0x55}},                                 // push %rbp
    {2, {0x41, 0x57}},                           // push %r15
    {1, {0xc3}},                                 // ret
    {2, {0x31, 0xc0}},                           // xor %eax, %eax
    {5, {0xb8}},                                 // mov $n, %eax
    {2, {0x0f, 0x05}},                           // syscall
};

// Takes bytes from the fuzzer's; 0 when there are no more.
class Source {
 public:
  Source(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}
  uint8_t Byte() { return data_ == end_ ? 0 : *data_++; }
  void Bytes(uint8_t* to, size_t size) {
    for (size_t i = 0; i < size; ++i) to[i] = Byte();
  }

 private:
  const uint8_t* data_;
  const uint8_t* end_;
};

class Round {
 public:
  Round(const uint8_t* data, size_t size)
      : seed_(data), seed_size_(size), source_(data, size) {}

  FuzzResult Run() {
    patched_ = source_.Byte() % 4 == 0 ? kTrapSize : kJumpSize;
    const uint8_t ways = source_.Byte();
    near_ = ways % 4 != 0;
    Write();
    const absl::StatusOr<DisplacedCode> displaced =
        DisplaceEntry(address(), absl::MakeConstSpan(code(), Arena::kCodeRoom),
                      Bounds(ways), patched_);
    FuzzResult result;
    if (!displaced.ok() || !BranchesInto(*displaced)) return result;
    if (displaced->nops) return result;
    const uintptr_t destination = Destination(*displaced, ways);
    if (destination == 0) return result;
    result.moved = true;
    const MovedTo elsewhere = Elsewhere(*displaced, ways);
    const absl::StatusOr<MovedCode> moved =
        MoveCode(*displaced, destination, elsewhere);
    if (!moved.ok()) {
      result.difference = std::string(moved.status().message());
      return result;
    }
    result.difference = Difference({
        .original = code(),
        .address = address(),
        .patched = patched_,
        .displaced = displaced->size,
        .moved = moved->bytes,
        .moved_size = moved->size,
        .destination = destination,
        .copies = moved->copies,
        .elsewhere = &elsewhere,
    });
    if (moved->size != MovedSize(*displaced)) result.difference += " size";
    if (!result.difference.empty()) {
      for (size_t i = 0; i < displaced->size; ++i) {
        absl::StrAppend(&result.difference, " ",
                        absl::Hex(code()[i], absl::kZeroPad2));
      }
    }
    if (near_ && elsewhere.address == 0 && MayRun(*displaced)) {
      result.executed = true;
      Compare(*displaced, *moved, &result);
    }
    return result;
  }

 private:
  const Arena& arena() const { return Arena::Get(); }
  uint8_t* code() const { return arena().code + Arena::kCodeOffset; }
  uintptr_t address() const { return arena().original(); }

  // Fills the room with instructions, as many as are displaced; then an exit.
  void Write() {
    std::memset(code(), 0x90, Arena::kCodeRoom);
    size_t size = 0;
    while (size < patched_) {
      const size_t length = Append(size);
      Instruction instruction;
      if (length == 0) continue;
      size += length;
      if (DecodeInstruction(code() + size - length, length, 0, &instruction) &&
          instruction.EndsFlow() && size < patched_) {
        const uint8_t padding = source_.Byte();
        if (padding % 4 == 0) code()[size] = padding;  // which may be none
        size = patched_;
      }
    }
    arena().WriteExit(code() + size + kMaxInstruction, 1);
    if (near_) arena().WriteExit(code() + size, 1);
  }

  // One instruction at `offset`; its length. Without more bytes to take: a nop.
  size_t Append(size_t offset) {
    uint8_t* const place = code() + offset;
    const uint8_t choice = source_.Byte();
    size_t length = 0;
    if (choice % 2 == 0) {
      const Shape& shape = kShapes[choice / 2 % std::size(kShapes)];
      std::memcpy(place, shape.bytes, shape.length);
      length = shape.length;
      for (size_t i = 0; i < shape.length; ++i) {
        if (place[i] == 0) place[i] = source_.Byte();
      }
      if (place[0] == 0x74) place[0] ^= source_.Byte() & 15;
      if (place[0] == 0x0f && place[1] == 0x84) place[1] ^= source_.Byte() & 15;
    } else {
      source_.Bytes(place, kMaxInstruction);
    }
    Instruction instruction;
    if (!DecodeInstruction(place, kMaxInstruction,
                           reinterpret_cast<uintptr_t>(place), &instruction)) {
      place[0] = 0x90;
      std::memset(place + 1, 0x90, kMaxInstruction - 1);
      return 1;
    }
    length = instruction.length;
    std::memset(place + length, 0x90, kMaxInstruction);
    if (near_) Aim(instruction, place);
    return length;
  }

  // Makes an instruction refer to what there is to be found.
  void Aim(const Instruction& instruction, uint8_t* place) {
    const uintptr_t end =
        reinterpret_cast<uintptr_t>(place) + instruction.length;
    const uint8_t way = source_.Byte();
    if (instruction.IsRelativeBranch()) {
      // One in four may go into the code itself.
      const uintptr_t target =
          way % 4 == 0 ? address() + way / 4 % 8 : arena().exit(way % 2);
      const auto distance = static_cast<int32_t>(target - end);
      std::memcpy(place + instruction.distance, &distance,
                  instruction.distance_size == 1 ? 1 : 4);
    } else if (instruction.displacement != 0) {
      const bool pointer =
          instruction.kind == Instruction::Kind::kIndirectCall ||
          instruction.kind == Instruction::Kind::kIndirectJump;
      const uint8_t* target = pointer ? arena().pointers + way % 8 * 8
                                      : arena().scratch + way % 240;
      const auto distance =
          static_cast<int32_t>(reinterpret_cast<uintptr_t>(target) - end);
      std::memcpy(place + instruction.displacement, &distance, 4);
    }
  }

  EntryBounds Bounds(uint8_t ways) const {
    EntryBounds bounds;
    if (ways & 16) bounds.end = address() + 1 + ways / 32;
    if (ways & 8) bounds.next = address() + 16;
    return bounds;
  }

  // The planner lets no call in, nor a branch into an instruction.
  bool BranchesInto(const DisplacedCode& displaced) const {
    bool begins[kJumpSize] = {};
    size_t offset = 0;
    for (int i = 0; i < displaced.count; ++i) {
      begins[offset] = true;
      offset += displaced.instructions[i].length;
    }
    for (int i = 0; i < displaced.count; ++i) {
      const Instruction& instruction = displaced.instructions[i];
      const uintptr_t into = instruction.target - address();
      if (!instruction.IsRelativeBranch() || into >= patched_) continue;
      if (!begins[into] ||
          (instruction.kind == Instruction::Kind::kCall && into != 0)) {
        return false;
      }
    }
    return true;
  }

  // Next to the code, or at one end of what is in reach; 0: there is no such.
  uintptr_t Destination(const DisplacedCode& displaced, uint8_t ways) const {
    ReachWindow window;
    CoverOperands(displaced, &window);
    const auto stub = reinterpret_cast<uintptr_t>(arena().stub);
    if (window.empty()) return 0;
    if (!near_) return ways & 4 ? window.low : window.high - 128;
    return stub >= window.low && stub < window.high ? stub : 0;
  }

  // Sometimes the first branch goes to what has moved itself.
  MovedTo Elsewhere(const DisplacedCode& displaced, uint8_t ways) const {
    MovedTo moved;
    if (ways % 8 != 5) return moved;
    for (int i = 0; i < displaced.count; ++i) {
      const Instruction& instruction = displaced.instructions[i];
      const uintptr_t into = instruction.target - address();
      if (!instruction.IsRelativeBranch() || into < patched_ ||
          instruction.kind == Instruction::Kind::kCall) {
        continue;
      }
      moved.address = instruction.target - 1;
      moved.copies[1] = reinterpret_cast<uintptr_t>(arena().stub) + 256;
      break;
    }
    return moved;
  }

  bool MayRun(const DisplacedCode& displaced) const {
    size_t offset = 0;
    for (int i = 0; i < displaced.count; ++i) {
      // A return to what stands first on the stack, not to what was pushed.
      if (!CanRun(code() + offset, address() + offset) ||
          (i > 0 &&
           displaced.instructions[i].kind == Instruction::Kind::kReturn)) {
        return false;
      }
      offset += displaced.instructions[i].length;
    }
    return true;
  }

  void Compare(const DisplacedCode& displaced, const MovedCode& moved,
               FuzzResult* result) {
    // What went before, padding too, must be an exit behind.
    if (!displaced.ends) arena().WriteExit(code() + displaced.size, 1);
    std::memcpy(arena().stub, moved.bytes, sizeof(moved.bytes));
    const RunResult before = RunCode(address(), seed_, seed_size_);
    const RunResult after =
        RunCode(reinterpret_cast<uintptr_t>(arena().stub), seed_, seed_size_);
    if (!(before == after)) result->difference += " another result";
  }

  const uint8_t* seed_;
  size_t seed_size_;
  Source source_;
  size_t patched_ = kJumpSize;
  bool near_ = true;
};

}  // namespace

FuzzResult FuzzRelocation(const uint8_t* data, size_t size) {
  return Round(data, size).Run();
}

}  // namespace retprobe
