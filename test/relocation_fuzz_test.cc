// SPDX-License-Identifier: Apache-2.0
// Random instructions, moved and compared with the originals: a few seconds of
// what test/fuzz does for as long as one likes.
#include "patch/relocation_fuzz.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "patch/equivalence.h"
#include "patch/relocate.h"

namespace retprobe {
namespace {

using Clock = std::chrono::steady_clock;

TEST_CASE("random instructions do the same where they were moved to") {
  std::mt19937_64 random(20221218);
  const auto end = Clock::now() + std::chrono::seconds(2);
  int rounds = 0;
  int moved = 0;
  int executed = 0;
  while (Clock::now() < end) {
    for (int i = 0; i < 1000; ++i) {
      uint64_t data[10];
      for (uint64_t& word : data) word = random();
      const auto* bytes = reinterpret_cast<const uint8_t*>(data);
      const FuzzResult result = FuzzRelocation(bytes, sizeof(data));
      ++rounds;
      moved += result.moved;
      executed += result.executed;
      CAPTURE(rounds);
      if (!result.difference.empty()) REQUIRE(result.difference == "");
    }
  }
  MESSAGE(rounds << " rounds, " << moved << " moved, " << executed << " run");
  CHECK(moved * 4 > rounds);
  CHECK(executed * 20 > rounds);
}

constexpr uintptr_t kAddress = 0x555500001000;
constexpr uintptr_t kStub = 0x5554f0000000;

std::string DifferenceBetween(const DisplacedCode& displaced,
                              const MovedCode& moved) {
  const MovedTo nowhere;
  return Difference({
      .original = displaced.bytes,
      .address = kAddress,
      .patched = displaced.patched,
      .displaced = displaced.size,
      .moved = moved.bytes,
      .moved_size = moved.size,
      .destination = kStub,
      .copies = moved.copies,
      .elsewhere = &nowhere,
  });
}

TEST_CASE("the comparison sees every bit that is wrong") {
  const std::vector<uint8_t> kCodes[] = {
      {0x55, 0x48, 0x89, 0xe5, 0x53},              // push, mov, push
      {0x48, 0x8b, 0x05, 0x10, 0x20, 0x30, 0x00},  // mov (%rip)
      {0x81, 0x3d, 0, 1, 0, 0, 7, 0, 0, 0},        // cmpl $7, (%rip)
      {0xc5, 0xfe, 0x6f, 0x05, 0x20, 0, 0, 0},     // vmovdqu (%rip)
      {0x74, 0x10, 0x75, 0xe0, 0x90},              // je, jne, nop
      {0x67, 0xe3, 0x10, 0xe2, 0x20},              // jecxz, loop
      {0x50, 0xe8, 0, 2, 0, 0},                    // push, call
      {0x50, 0xff, 0x15, 0, 2, 0, 0},              // push, call *(%rip)
      {0x48, 0x89, 0xc8, 0xff, 0xd0},              // mov, call *%rax
      {0xe9, 0, 1, 0, 0},                          // jmp
      {0x48, 0xff, 0xc9, 0x75, 0xfb},              // dec, jne to the first
      {0xc7, 0xf8, 0x40, 0, 0, 0},                 // xbegin
  };
  for (std::vector<uint8_t> code : kCodes) {
    code.resize(64, 0x90);
    const absl::StatusOr<DisplacedCode> displaced =
        DisplaceEntry(kAddress, code, {});
    REQUIRE(displaced.ok());
    const absl::StatusOr<MovedCode> moved = MoveCode(*displaced, kStub);
    REQUIRE(moved.ok());
    CHECK(DifferenceBetween(*displaced, *moved) == "");
    for (size_t bit = 0; bit < size_t{8} * moved->size; ++bit) {
      MovedCode wrong = *moved;
      wrong.bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      CAPTURE(code[0]);
      CAPTURE(bit);
      if (DifferenceBetween(*displaced, wrong).empty()) FAIL("not seen");
    }
  }
}

}  // namespace
}  // namespace retprobe
