// SPDX-License-Identifier: Apache-2.0
#include "rethook/depth_account.h"

#include <atomic>

namespace retprobe {
namespace {

std::atomic<uint32_t> g_threads{0};

// 0: it has none yet.
constinit thread_local uint32_t g_thread_number
    __attribute__((tls_model("initial-exec"))) = 0;

// Not the id: in a forked child the thread goes on with its account.
uint32_t ThreadNumber() {
  if (g_thread_number == 0) {
    // relaxed: a number, nothing is published by it. A signal handler that
    // comes between takes one of its own, and ours is what counts from then on.
    const uint32_t number = g_threads.fetch_add(1, std::memory_order_relaxed);
    if (g_thread_number == 0) g_thread_number = number + 1;
  }
  return g_thread_number;
}

// A cell: whose account it is (24 bits for the probe, 24 for the thread's
// number) and how much is in it (16). With nothing in it, it is anyone's.
constexpr int kCountBits = 16;
constexpr int kNumberBits = 24;
constexpr uint64_t kCountMask = (uint64_t{1} << kCountBits) - 1;
constexpr uint32_t kNumberMask = (uint32_t{1} << kNumberBits) - 1;
static_assert(DepthAccount::kMaxDepth == kCountMask);

// An account is in one of the cells of its bucket, a cache line, or of the
// next.
constexpr uint32_t kBucket = 8;
constexpr uint32_t kWindow = 2 * kBucket;
constexpr uint32_t kCells = uint32_t{1} << 17;
alignas(64) std::atomic<uint64_t> g_cells[kCells];

uint32_t FirstCell(uint64_t key) {
  // Multiplicative hashing (Knuth), the upper bits.
  const uint64_t hash = (key >> kCountBits) * 0x9e3779b97f4a7c15u;
  return static_cast<uint32_t>(hash >> 40) * kBucket % kCells;
}

}  // namespace

uint32_t DepthAccount::Enter(uint32_t probe, uint32_t limit) {
  const uint64_t key = (uint64_t{probe & kNumberMask} << kNumberBits |
                        uint64_t{ThreadNumber() & kNumberMask})
                       << kCountBits;
  const uint32_t first = FirstCell(key);
  while (true) {
    uint32_t chosen = kNoRoom;
    uint64_t seen = 0;
    bool own = false;
    uint64_t depth = 0;
    for (uint32_t i = 0; i < kWindow; ++i) {
      const uint32_t cell = (first + i) % kCells;
      // relaxed: validated by the exchange below. The cells of this thread's
      // keys change from 0 by its own doing only.
      const uint64_t value = g_cells[cell].load(std::memory_order_relaxed);
      const bool match = (value & ~kCountMask) == key;
      // Of two cells (a signal handler took the second one while we were about
      // to take the first) both count.
      if (match) depth += value & kCountMask;
      if (match ? !own : chosen == kNoRoom && (value & kCountMask) == 0) {
        chosen = cell;
        seen = value;
        own = match;
      }
    }
    if (depth >= limit) return kTooDeep;
    if (chosen == kNoRoom) return kNoRoom;
    const uint64_t next = own ? seen + 1 : key | 1;
    // relaxed, both: a count; nothing else is read by it. On failure we look at
    // everything again.
    if (g_cells[chosen].compare_exchange_strong(
            seen, next, std::memory_order_relaxed, std::memory_order_relaxed)) {
      return chosen;
    }
  }
}

void DepthAccount::Leave(uint32_t account) {
  // relaxed: a count.
  g_cells[account].fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace retprobe
