// SPDX-License-Identifier: Apache-2.0
#include "patch/near_memory.h"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstring>
#include <set>

namespace retprobe {
namespace {

int here = 0;

uintptr_t Address(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

const Mapping* Find(const std::vector<Mapping>& mappings, uintptr_t address) {
  for (const Mapping& mapping : mappings) {
    if (address >= mapping.begin && address < mapping.end) return &mapping;
  }
  return nullptr;
}

TEST_CASE("memory lies in the window, aligned, executable and not writable") {
  NearMemory memory;
  ReachWindow window;
  window.Cover(Address(&here));
  std::set<uintptr_t> seen;
  for (int i = 0; i < 5000; ++i) {
    const absl::StatusOr<uintptr_t> place =
        memory.Allocate(window, Address(&here), 47);
    REQUIRE(place.ok());
    CHECK(*place % 16 == 0);
    CHECK(*place >= window.low);
    CHECK(*place + 48 <= window.high);
    CHECK(seen.insert(*place).second);
  }
  const std::vector<Mapping> mappings = Mappings();
  for (const uintptr_t place : seen) {
    const Mapping* mapping = Find(mappings, place);
    REQUIRE(mapping != nullptr);
    CHECK(mapping->executable);
    CHECK(!mapping->writable);
  }
}

TEST_CASE("a window without free memory is reported") {
  // 1 MiB that is all taken.
  void* taken =
      mmap(nullptr, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(taken != MAP_FAILED);
  NearMemory memory;
  ReachWindow window;
  window.low = Address(taken);
  window.high = Address(taken) + (1 << 20) - 1;
  const absl::StatusOr<uintptr_t> place =
      memory.Allocate(window, Address(taken), 16);
  REQUIRE(!place.ok());
  CHECK(place.status().code() == absl::StatusCode::kResourceExhausted);
  munmap(taken, 1 << 20);
}

TEST_CASE("code filled in can be run, and neighbours stay") {
  NearMemory memory;
  ReachWindow window;
  window.Cover(Address(&here));
  const absl::StatusOr<MemoryFile> file = MemoryFile::Open();
  REQUIRE(file.ok());
  for (const uint8_t value : {7, 8}) {
    const absl::StatusOr<uintptr_t> place =
        memory.Allocate(window, Address(&here), 6);
    REQUIRE(place.ok());
    const uint8_t code[] = {0xb8, value, 0,
                            0,    0,     0xc3};  // mov $value,%eax; ret
    REQUIRE(memory.Fill(*file, *place, code, sizeof(code)).ok());
    CHECK(reinterpret_cast<int (*)()>(*place)() == value);
  }
}

}  // namespace
}  // namespace retprobe
