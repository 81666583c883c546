// SPDX-License-Identifier: Apache-2.0
#include "patch/near_memory.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <iterator>
#include <map>
#include <set>

#include "patch/punned_memory.h"

namespace {
int opened;  // files so far
}

// In place of libc's; also for the library, which is linked statically.
extern "C" int open64(const char* path, int flags, ...) {
  ++opened;
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags));
}

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

uint32_t DistanceTo(uintptr_t place, uintptr_t behind) {
  return static_cast<uint32_t>(place - behind);
}

TEST_CASE("punned places have the wanted bytes and overlap nothing") {
  PunnedMemory memory;
  const auto code = reinterpret_cast<uintptr_t>(&DistanceTo);
  std::map<uintptr_t, size_t> places;
  size_t missing = 0;
  for (uintptr_t i = 0; i < 4000; ++i) {
    const uintptr_t behind = code + 23 * i;
    uint32_t traps = 0;
    for (uint32_t byte = 0; byte < 4; ++byte) {
      if (i >> byte & 1) traps |= 0xffu << 8 * byte;
    }
    const size_t size = 40 + i % 30;
    const uintptr_t place = memory.Allocate({}, behind, traps, size);
    if (place == 0) {
      ++missing;
      continue;
    }
    REQUIRE((DistanceTo(place, behind) & traps) == (0xcccccccc & traps));
    REQUIRE(static_cast<uintptr_t>(static_cast<int32_t>(
                DistanceTo(place, behind))) == place - behind);
    const auto after = places.lower_bound(place);
    REQUIRE((after == places.end() || after->first >= place + size));
    if (after != places.begin()) {
      const auto before = std::prev(after);
      REQUIRE(before->first + before->second <= place);
    }
    places[place] = size;
  }
  // Where all four are wanted there is one place for each, and they collide.
  MESSAGE(missing << " of 4000 found no place");
  CHECK(missing < 4000 / 16 * 3 / 4);
}

TEST_CASE("punned places are packed") {
  PunnedMemory memory;
  const auto code = reinterpret_cast<uintptr_t>(&DistanceTo);
  std::set<uintptr_t> pages;
  for (uintptr_t i = 0; i < 10'000; ++i) {
    // Behind push %rbp; mov %rsp, %rbp and what 16-byte alignment makes of it.
    const uintptr_t place = memory.Allocate(
        {}, code + 160 * i, i % 2 ? 0xff0000ff : 0xff000000, 64);
    REQUIRE(place != 0);
    pages.insert(place / 4096);
  }
  MESSAGE(pages.size() << " pages");
  CHECK(pages.size() < 10'000 * 64 / 4096 * 4);
}

TEST_CASE("a punned place is refused where none can be") {
  PunnedMemory memory;
  // A distance that begins with 0xcc leads below address 0.
  CHECK(memory.Allocate({}, 0x400000, 0xff000000, 64) == 0);
  ReachWindow window;
  window.low = window.high - 10;
  CHECK(memory.Allocate(window, 0x400000, 0xff, 64) == 0);
  // Thousands of functions of such a program must not ask the kernel each.
  opened = 0;
  for (uintptr_t i = 0; i < 1000; ++i) {
    memory.Allocate({}, 0x400000 + 16 * i, 0xff0000ff, 64);
  }
  CHECK(opened == 0);
}

}  // namespace
}  // namespace retprobe
