// SPDX-License-Identifier: Apache-2.0
#include "patch/near_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace retprobe {
namespace {

constexpr size_t kBlockSize = 64 * 1024;
constexpr size_t kPageSize = 4096;
constexpr size_t kAlignment = 16;

// The lowest address ever mapped: null pointers keep faulting.
constexpr uintptr_t kLowest = 1 << 20;
constexpr uintptr_t kHighest = (uintptr_t{1} << 47) - kPageSize;

// Room left above the heap, for as long as there is another place.
constexpr uintptr_t kHeapRoom = uintptr_t{1} << 30;

uintptr_t RoundUp(uintptr_t value, uintptr_t step) {
  return (value + step - 1) / step * step;
}

uintptr_t Distance(uintptr_t a, uintptr_t b) { return a > b ? a - b : b - a; }

Mapping ParseMapping(const char* line, const char* end) {
  const auto number = [&](char stop) {
    uintptr_t value = 0;
    for (; line < end && *line != stop; ++line) {
      value = value * 16 + static_cast<uintptr_t>(
                               *line <= '9' ? *line - '0' : *line - 'a' + 10);
    }
    ++line;
    return value;
  };
  Mapping mapping{};
  mapping.begin = number('-');
  mapping.end = number(' ');
  const absl::string_view rest(line, static_cast<size_t>(end - line));
  mapping.writable = rest.size() > 1 && rest[1] == 'w';
  mapping.executable = rest.size() > 2 && rest[2] == 'x';
  mapping.heap = rest.find("[heap]") != absl::string_view::npos;
  return mapping;
}

// The place for a block in the free range [begin, end) nearest to `address`,
// or 0.
uintptr_t PlaceIn(uintptr_t begin, uintptr_t end, uintptr_t address) {
  begin = RoundUp(begin, kBlockSize);
  end = end / kBlockSize * kBlockSize;
  if (end <= begin || end - begin < kBlockSize) return 0;
  if (address < begin) return begin;
  if (address >= end) return end - kBlockSize;
  return 0;  // the target lies in a hole: it is not mapped
}

// Candidate places within `window`, nearest first; those just above a heap
// last, since it would have to stop growing there.
std::vector<uintptr_t> Places(const ReachWindow& window, uintptr_t address) {
  std::vector<uintptr_t> places;
  std::vector<uintptr_t> reserve;
  const uintptr_t low = std::max(window.low, kLowest);
  const uintptr_t high = std::min(window.high, kHighest);
  uintptr_t free = kLowest;
  bool above_heap = false;
  const auto consider = [&](uintptr_t begin, uintptr_t end) {
    const uintptr_t clear = above_heap ? begin + kHeapRoom : begin;
    const uintptr_t top = std::min(end, high);
    if (uintptr_t place = PlaceIn(std::max(clear, low), top, address)) {
      places.push_back(place);
    } else if (above_heap) {
      place = PlaceIn(std::max(begin, low), top, address);
      if (place != 0) reserve.push_back(place);
    }
  };
  for (const Mapping& mapping : Mappings()) {
    if (mapping.begin > free) consider(free, mapping.begin);
    free = std::max(free, mapping.end);
    above_heap = mapping.heap;
  }
  consider(free, kHighest);
  const auto nearer = [address](uintptr_t a, uintptr_t b) {
    return Distance(a, address) < Distance(b, address);
  };
  std::sort(places.begin(), places.end(), nearer);
  places.insert(places.end(), reserve.begin(), reserve.end());
  return places;
}

}  // namespace

std::vector<Mapping> Mappings() {
  std::vector<Mapping> mappings;
  int file = open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return mappings;
  std::string pending;
  char buffer[kPageSize];
  ssize_t got;
  while ((got = read(file, buffer, sizeof(buffer))) != 0) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    pending.append(buffer, static_cast<size_t>(got));
    size_t line = 0;
    for (size_t end; (end = pending.find('\n', line)) != std::string::npos;
         line = end + 1) {
      mappings.push_back(
          ParseMapping(pending.data() + line, pending.data() + end));
    }
    pending.erase(0, line);
  }
  close(file);
  return mappings;
}

absl::StatusOr<NearMemory::Block*> NearMemory::Map(const ReachWindow& window,
                                                   uintptr_t address) {
  for (const uintptr_t place : Places(window, address)) {
    void* mapped =
        mmap(reinterpret_cast<void*>(place), kBlockSize, PROT_READ | PROT_EXEC,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (mapped == reinterpret_cast<void*>(place)) {
      blocks_.push_back({place, 0});
      return &blocks_.back();
    }
    // A kernel before 4.17 takes the address for a hint; another thread may
    // have been faster.
    if (mapped != MAP_FAILED) munmap(mapped, kBlockSize);
    if (mapped == MAP_FAILED && errno != EEXIST) {
      return absl::ResourceExhaustedError(
          absl::StrCat("cannot map executable memory near 0x",
                       absl::Hex(address), ": ", strerrordesc_np(errno)));
    }
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no free memory within reach of 0x", absl::Hex(address)));
}

absl::StatusOr<uintptr_t> NearMemory::Allocate(const ReachWindow& window,
                                               uintptr_t address, size_t size) {
  size = RoundUp(size, kAlignment);
  Block* best = nullptr;
  for (Block& block : blocks_) {
    const uintptr_t begin = block.begin + block.used;
    if (block.used + size > kBlockSize || begin < window.low ||
        begin + size > window.high) {
      continue;
    }
    if (best == nullptr ||
        Distance(block.begin, address) < Distance(best->begin, address)) {
      best = &block;
    }
  }
  if (best == nullptr) {
    absl::StatusOr<Block*> mapped = Map(window, address);
    if (!mapped.ok()) return mapped.status();
    best = *mapped;
  }
  const uintptr_t result = best->begin + best->used;
  best->used += size;
  return result;
}

absl::Status NearMemory::Fill(const MemoryFile& memory, uintptr_t begin,
                              const void* bytes, size_t size) {
  const absl::Status status = memory.Write(begin, bytes, size);
  return status.ok() ? status : FillByRemapping(begin, bytes, size);
}

absl::Status NearMemory::FillByRemapping(uintptr_t begin, const void* bytes,
                                         size_t size) {
  // Requires whole pages of its own: whoever executes in a page must not see
  // it lose its permission. The rest of the last page is given up.
  const uintptr_t page = begin / kPageSize * kPageSize;
  const uintptr_t end = RoundUp(begin + size, kPageSize);
  for (Block& block : blocks_) {
    if (begin < block.begin || begin >= block.begin + kBlockSize) continue;
    block.used = end - block.begin;
    if (begin != page) {
      return absl::PermissionDeniedError(
          "cannot write a stub: /proc/self/mem refuses, and its page is shared "
          "with stubs in use");
    }
  }
  void* const pages = reinterpret_cast<void*>(page);
  if (mprotect(pages, end - page, PROT_READ | PROT_WRITE) != 0) {
    return absl::PermissionDeniedError(absl::StrCat(
        "cannot make a new stub writable: ", strerrordesc_np(errno)));
  }
  std::memcpy(reinterpret_cast<void*>(begin), bytes, size);
  if (mprotect(pages, end - page, PROT_READ | PROT_EXEC) != 0) {
    return absl::PermissionDeniedError(absl::StrCat(
        "cannot make a new stub executable: ", strerrordesc_np(errno)));
  }
  return absl::OkStatus();
}

}  // namespace retprobe
