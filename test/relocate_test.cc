// SPDX-License-Identifier: Apache-2.0
#include "patch/relocate.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

namespace retprobe {
namespace {

constexpr uintptr_t kAddress = 0x555500001000;
constexpr uintptr_t kStub = 0x5554f0000000;

std::vector<uint8_t> Bytes(std::initializer_list<int> bytes) {
  std::vector<uint8_t> code(bytes.begin(), bytes.end());
  code.resize(64, 0x90);
  return code;
}

absl::StatusOr<DisplacedCode> Displace(std::initializer_list<int> bytes,
                                       const EntryBounds& bounds = {}) {
  return DisplaceEntry(kAddress, Bytes(bytes), bounds);
}

MovedCode Move(std::initializer_list<int> bytes) {
  const absl::StatusOr<DisplacedCode> displaced = Displace(bytes);
  REQUIRE_MESSAGE(displaced.ok(), displaced.status().ToString());
  const absl::StatusOr<MovedCode> moved = MoveCode(*displaced, kStub);
  REQUIRE_MESSAGE(moved.ok(), moved.status().ToString());
  CHECK(moved->size == MovedSize(*displaced));
  return *moved;
}

// Where the instruction at `offset` of the moved code branches to or refers to.
uintptr_t TargetAt(const MovedCode& moved, size_t offset) {
  Instruction instruction;
  REQUIRE(DecodeInstruction(moved.bytes + offset, moved.size - offset,
                            kStub + offset, &instruction));
  return instruction.target;
}

std::string Reason(const absl::StatusOr<DisplacedCode>& displaced) {
  return std::string(displaced.status().message());
}

TEST_CASE("plain instructions are copied and followed by a jump back") {
  // push %rbp; mov %rsp,%rbp; push %rbx
  const MovedCode moved = Move({0x55, 0x48, 0x89, 0xe5, 0x53});
  CHECK(moved.size == 10);
  CHECK(moved.bytes[0] == 0x55);
  CHECK(TargetAt(moved, 5) == kAddress + 5);
  CHECK(moved.copies[0] == 0);
  CHECK(moved.copies[1] == 1);
  CHECK(moved.copies[2] == kNoCopy);
  CHECK(moved.copies[4] == 4);
}

TEST_CASE(
    "a rip-relative operand keeps its address, also before an immediate") {
  // cmpl $7, 0x100(%rip), 10 bytes
  const MovedCode moved = Move({0x81, 0x3d, 0, 1, 0, 0, 7, 0, 0, 0});
  CHECK(TargetAt(moved, 0) == kAddress + 10 + 0x100);
  CHECK(moved.bytes[6] == 7);
  // vmovdqu 0x20(%rip), %ymm0: another encoding
  const MovedCode vector = Move({0xc5, 0xfe, 0x6f, 0x05, 0x20, 0, 0, 0});
  CHECK(TargetAt(vector, 0) == kAddress + 8 + 0x20);
}

TEST_CASE("short branches reach their targets from afar") {
  // je +0x10; jne -0x20; nop; nop
  const MovedCode moved = Move({0x74, 0x10, 0x75, 0xe0, 0x90});
  CHECK(TargetAt(moved, 0) == kAddress + 2 + 0x10);
  CHECK(TargetAt(moved, 6) == kAddress + 4 - 0x20);
  CHECK(moved.bytes[1] == 0x84);
  CHECK(moved.bytes[7] == 0x85);
  CHECK(moved.copies[2] == 6);
  // jecxz with its prefix, then loop
  const MovedCode loops = Move({0x67, 0xe3, 0x10, 0xe2, 0x20});
  CHECK(TargetAt(loops, 5) == kAddress + 3 + 0x10);
  CHECK(TargetAt(loops, 14) == kAddress + 5 + 0x20);
}

TEST_CASE("a call pushes its original return address") {
  // push %rax; call +0x200
  const MovedCode moved = Move({0x50, 0xe8, 0, 2, 0, 0});
  // push %rax; push literal(%rip); jmp target; literal
  CHECK(moved.size == 1 + 6 + 5 + 8);
  CHECK(TargetAt(moved, 1) == kStub + 12);
  CHECK(TargetAt(moved, 7) == kAddress + 6 + 0x200);
  uint64_t literal;
  std::memcpy(&literal, moved.bytes + 12, sizeof(literal));
  CHECK(literal == kAddress + 6);
}

TEST_CASE("an unconditional jump needs no jump behind it") {
  CHECK(Move({0xe9, 0, 1, 0, 0}).size == 5);
}

TEST_CASE("a transaction's way out is rebased") {
  CHECK(TargetAt(Move({0xc7, 0xf8, 0x40, 0, 0, 0}), 0) == kAddress + 6 + 0x40);
}

TEST_CASE("what cannot be moved is refused") {
  CHECK(Reason(Displace({0x0f, 0x05, 0xc3})) == "has a system call at +0");
  CHECK(Reason(Displace({0x06})) == "has no valid instruction at +0");
  CHECK(Reason(Displace({0x67, 0x8b, 0x05, 0, 0, 0, 0})) ==
        "has an eip-relative operand at +0");
  CHECK(Reason(Displace({0x50, 0x90, 0xff, 0x54, 0x24, 0x08})) ==
        "has a call through its stack at +2");
  CHECK(Reason(Displace({0x48, 0x89, 0xc8, 0xff, 0xd4})) ==
        "has a call through its stack at +3");
  // call *%r12, call *8(%r12)
  CHECK(Displace({0x48, 0x89, 0xc8, 0x41, 0xff, 0xd4}).ok());
  CHECK(Displace({0x41, 0xff, 0x54, 0x24, 0x08}).ok());
  CHECK(Reason(Displace({0xff, 0x1d, 0, 0, 0, 0})) == "has a far call at +0");
  EntryBounds shadow;
  shadow.shadow_stack = true;
  CHECK(Reason(Displace({0xe8, 0, 0, 0, 0}, shadow)) ==
        "has a call, and a hardware shadow stack is in force, at +0");
}

TEST_CASE("padding counts up to the next function or multiple of 16") {
  EntryBounds bounds;
  bounds.end = kAddress + 3;  // xor %eax,%eax; ret
  CHECK(Displace({0x31, 0xc0, 0xc3}, bounds).ok());
  bounds.next = kAddress + 4;
  CHECK(Reason(Displace({0x31, 0xc0, 0xc3}, bounds)) ==
        "is 3 bytes long and the next function follows at once");
  bounds.next = kAddress + 16;
  CHECK(Reason(Displace({0x31, 0xc0, 0xc3, 0x55}, bounds)) ==
        "is 3 bytes long and what follows is not padding");
  const absl::StatusOr<DisplacedCode> late =
      DisplaceEntry(kAddress + 13, Bytes({0x31, 0xc0, 0xc3}), EntryBounds{});
  CHECK(Reason(late) == "is 3 bytes long and has no padding behind it");
}

TEST_CASE("code of unknown size is not displaced into the next function") {
  EntryBounds bounds;
  bounds.next = kAddress + 2;  // push %rbp; push %rbx; the next: sub $8,%rsp
  CHECK(Reason(Displace({0x55, 0x53, 0x48, 0x83, 0xec, 0x08}, bounds)) ==
        "is 2 bytes long and runs into what follows");
  bounds.next = kAddress + 6;
  CHECK(Displace({0x55, 0x53, 0x48, 0x83, 0xec, 0x08}, bounds).ok());
}

TEST_CASE("a window too far from an operand holds no stub") {
  ReachWindow window;
  // mov 0x7fffff00(%rip),%eax: 2 GiB ahead.
  const absl::StatusOr<DisplacedCode> displaced =
      Displace({0x8b, 0x05, 0, 0xff, 0xff, 0x7f});
  REQUIRE(displaced.ok());
  CoverOperands(*displaced, &window);
  CHECK(!window.empty());
  CHECK(window.low > kAddress - 4096);
  CHECK(!MoveCode(*displaced, kAddress - 0x40000000).ok());
  CHECK(MoveCode(*displaced, window.low).ok());
  CHECK(MoveCode(*displaced, window.high).ok());
  window.Cover(kAddress - 0x80000000);
  CHECK(window.empty());
}

}  // namespace
}  // namespace retprobe
