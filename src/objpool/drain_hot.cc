// SPDX-License-Identifier: Apache-2.0
#include "base/membarrier_hot.h"
#include "objpool/pool_core.h"

// How objects leave a magazine other than through its own CPU's pops.
//
// T1 (any thread) freezes: a compare-and-swap makes the count negative, so that
// restartable sequences which begin after it keep off. One that began before
// may still commit, over the frozen count. After an rseq membarrier it has or
// never will; a frozen count that is still the same is then confirmed, and the
// magazine is a stack that anyone pops by compare-and-swap of the count. Who
// takes the last object leaves 0 behind, which thaws it.
//
// Each frozen count is unique (kMagazineFreezeShift), so any number of threads,
// and signal handlers in their middle, may do any of this at once; one that
// stops for good leaves nothing locked.

namespace retprobe {
namespace {

// Magazines frozen for one membarrier.
inline constexpr int kFreezeAtOnce = 16;

// Pushes on one CPU, without a miss meanwhile, after which a starved pool is
// thought to be so no more.
inline constexpr uint32_t kCalmPushes = 256;

inline constexpr uint64_t kFreezesMask =
    (kMagazineConfirmed >> kMagazineFreezeShift) - 1;

std::atomic_ref<int64_t> CountOf(Magazine& magazine) {
  return std::atomic_ref<int64_t>(magazine.count);
}

int64_t Objects(int64_t count) {
  return static_cast<int64_t>(static_cast<uint64_t>(count) &
                              kMagazineCountMask);
}

bool Confirmed(int64_t count) {
  return count < 0 && (static_cast<uint64_t>(count) & kMagazineConfirmed) != 0;
}

// Requires: an rseq membarrier since `count` was read.
bool Confirm(Magazine& magazine, int64_t count) {
  const auto confirmed =
      static_cast<int64_t>(static_cast<uint64_t>(count) | kMagazineConfirmed);
  // relaxed on failure: nothing is done with it
  // R8 -> A8: who sees the bit need not have made the membarrier.
  return CountOf(magazine).compare_exchange_strong(
      count, confirmed, std::memory_order_release, std::memory_order_relaxed);
}

}  // namespace

// Returns the magazine's count: frozen, or 0.
int64_t PoolCore::Freeze(Magazine& magazine) noexcept {
  // relaxed: the CAS validates it
  int64_t count = CountOf(magazine).load(std::memory_order_relaxed);
  while (count > 0) {
    // relaxed: only has to be another number each time
    const uint64_t number = freezes.fetch_add(1, std::memory_order_relaxed);
    const auto frozen = static_cast<int64_t>(
        kMagazineFrozen | ((number & kFreezesMask) << kMagazineFreezeShift) |
        static_cast<uint64_t>(count));
    // relaxed: the membarrier that must follow orders everything
    if (CountOf(magazine).compare_exchange_weak(count, frozen,
                                                std::memory_order_relaxed,
                                                std::memory_order_relaxed)) {
      return frozen;
    }
  }
  return count;
}

// Takes an object out of a magazine that is frozen and confirmed.
uint32_t PoolCore::TakeFrozen(Magazine& magazine) noexcept {
  // A8 <- R8: as the membarrier left the magazine.
  int64_t count = CountOf(magazine).load(std::memory_order_acquire);
  while (Confirmed(count)) {
    const int64_t objects = Objects(count);
    // relaxed: nobody writes it while the count stays as it is (the CAS)
    void* object = std::atomic_ref<void*>(magazine.objects[objects - 1])
                       .load(std::memory_order_relaxed);
    const int64_t left = objects == 1 ? 0 : count - 1;
    // R9 -> the next sequence on the magazine's CPU, which stores over what we
    // have read (a plain load, an acquire on x86); A8 on failure.
    if (CountOf(magazine).compare_exchange_weak(count, left,
                                                std::memory_order_acq_rel,
                                                std::memory_order_acquire)) {
      return Index(object);
    }
  }
  return kNoIndex;
}

// Gives a frozen magazine back to its CPU, with what is in it.
void PoolCore::Thaw(Magazine& magazine) noexcept {
  // relaxed: the CAS validates it
  int64_t count = CountOf(magazine).load(std::memory_order_relaxed);
  if (count >= 0) return;
  // A sequence from before the freeze must not commit over the thawed count.
  if (!Confirmed(count) && !IssueMembarrier(Membarrier::kRseq)) return;
  // relaxed on failure: somebody else has changed it, that is fine.
  // R9: as in TakeFrozen.
  CountOf(magazine).compare_exchange_strong(count, Objects(count),
                                            std::memory_order_release,
                                            std::memory_order_relaxed);
}

// Takes an object out of somebody's magazine; the others in there stay where
// all can take them.
uint32_t PoolCore::TakePrivate(uint32_t here) noexcept {
  if (!use_rseq || normal_capacity == 0) return kNoIndex;
  // Then no sequence is left that saw the old capacity.
  if (Starve()) IssueMembarrier(Membarrier::kRseq);

  struct Frozen {
    Magazine* magazine;
    int64_t count;
  };
  Frozen frozen[kFreezeAtOnce];
  int found = 0;
  for (uint32_t i = 0; i < cpus && found < kFreezeAtOnce; ++i) {
    uint32_t cpu = here + i;
    while (cpu >= cpus) cpu -= cpus;
    const int64_t count = Freeze(MagazineOf(cpu));
    if (count < 0) frozen[found++] = {&MagazineOf(cpu), count};
  }
  if (found == 0 || !IssueMembarrier(Membarrier::kRseq)) return kNoIndex;
  // relaxed: statistic
  SlotOf(here).drains.fetch_add(1, std::memory_order_relaxed);
  uint32_t index = kNoIndex;
  for (int i = 0; i < found; ++i) {
    if (!Confirmed(frozen[i].count)) {
      Confirm(*frozen[i].magazine, frozen[i].count);
    }
    if (index == kNoIndex) index = TakeFrozen(*frozen[i].magazine);
  }
  return index;
}

// From now on pushes go where all can reach the object. True if this is news.
bool PoolCore::Starve() noexcept {
  // relaxed: hints. Read first: misses come in crowds, and would all write.
  if (missed_recently.load(std::memory_order_relaxed) == 0) {
    missed_recently.store(1, std::memory_order_relaxed);
  }
  if (Starved()) return false;
  return std::atomic_ref<uint64_t>(header().capacity)
             .exchange(0, std::memory_order_relaxed) != 0;
}

// Told of every push while the pool is starved; finds the end of it.
void PoolCore::EaseStarvation(Slot& slot) noexcept {
  // relaxed, all: counts that may be a little wrong
  const uint32_t calm = slot.calm_pushes.load(std::memory_order_relaxed) + 1;
  if (calm < kCalmPushes) {
    slot.calm_pushes.store(calm, std::memory_order_relaxed);
    return;
  }
  slot.calm_pushes.store(0, std::memory_order_relaxed);
  if (missed_recently.load(std::memory_order_relaxed) != 0) {
    missed_recently.store(0, std::memory_order_relaxed);
    return;
  }
  std::atomic_ref<uint64_t>(header().capacity)
      .store(normal_capacity, std::memory_order_relaxed);
}

uint32_t PoolCore::DrainCpu(uint32_t from) noexcept {
  if (from >= cpus) return 0;
  Slot& target = SlotOf(cpus);
  uint32_t moved = 0;
  uint32_t index;
  if (use_rseq) {
    Magazine& magazine = MagazineOf(from);
    const int64_t count = Freeze(magazine);
    if (count < 0 && !Confirmed(count) && IssueMembarrier(Membarrier::kRseq)) {
      Confirm(magazine, count);
    }
    while ((index = TakeFrozen(magazine)) != kNoIndex) {
      FreelistPush(target, links, index);
      ++moved;
    }
  }
  // Others may go on pushing: not for ever.
  while (moved < max_objects && (index = TakeShared(from, 1)) != kNoIndex) {
    FreelistPush(target, links, index);
    ++moved;
  }
  return moved;
}

}  // namespace retprobe
