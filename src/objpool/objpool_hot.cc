// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"
#include "objpool/debug_checks.h"
#include "objpool/pool_core.h"

namespace retprobe {
namespace {

// Moving the objects of a batch is cheaper than one compare-and-swap for each,
// but hides them from others for a moment.
inline constexpr uint32_t kMaxBatch = 16;

// How often Pop looks everywhere while others go on pushing behind it.
inline constexpr int kMaxRounds = 8;

// How often a push tries anew that was preempted or moved to another CPU.
inline constexpr int kMaxAttempts = 8;

void Count(std::atomic<uint64_t>& counter) {
  // relaxed: statistic
  counter.fetch_add(1, std::memory_order_relaxed);
}

uint64_t Pushes(const Slot& slot) {
  // acquire keeps these loads in their place among those of a search; they
  // read nothing that depends on them. A7 <- R0, R3: sees later pushes too.
  return slot.tail.load(std::memory_order_acquire) +
         (slot.freelist.load(std::memory_order_acquire) >> kIndexBits);
}

}  // namespace

// The slot to use: this CPU's, or the overflow's when it is unknown.
uint32_t PoolCore::HereSlot() const noexcept {
  const auto cpu = use_rseq ? arch::RseqCpu(RseqOffset())
                            : static_cast<uint32_t>(CurrentCpu());
  return cpu < cpus ? cpu : cpus;
}

void* PoolCore::PopSlow() noexcept {
  const uint32_t here = HereSlot();
  if (use_rseq && here < cpus && !Starved()) {
    // Left behind by a drain.
    // relaxed: Thaw validates it
    Magazine& magazine = MagazineOf(here);
    if (std::atomic_ref<int64_t>(magazine.count)
            .load(std::memory_order_relaxed) < 0) {
      Thaw(magazine);
    }
  }
  uint32_t index = TakeShared(here, Starved() ? 1 : batch);
  if (index == kNoIndex && here != cpus) index = TakeShared(cpus, 1);
  if (index == kNoIndex) index = TakeFresh(initial_objects);
  if (index == kNoIndex) index = TakeAny(here);
  if (index == kNoIndex) {
    Count(SlotOf(here).misses);
    return nullptr;
  }
  CheckPop(*this, index);
  return Object(index);
}

void PoolCore::PushSlow(void* object) noexcept {
  const uint32_t here = HereSlot();
  CheckPush(*this, object);
  if (Starved()) {
    EaseStarvation(SlotOf(here));
  } else if (use_rseq && here < cpus) {
    Magazine& magazine = MagazineOf(here);
    // relaxed: Thaw validates it
    if (std::atomic_ref<int64_t>(magazine.count)
            .load(std::memory_order_relaxed) < 0) {
      Thaw(magazine);
    }
  }
  Share(Index(object));
}

// Takes one object from where all can reach it, and up to `most` - 1 more into
// this CPU's magazine.
uint32_t PoolCore::TakeShared(uint32_t from, uint32_t most) noexcept {
  Slot& slot = SlotOf(from);
  if (use_rseq && from != cpus) {
    uint32_t taken[kMaxBatch];
    const uint32_t count = RingPop(slot, (uint64_t{1} << ring_shift) - 1, taken,
                                   most < kMaxBatch ? most : kMaxBatch);
    for (uint32_t i = 1; i < count; ++i) Cache(taken[i]);
    if (count != 0) return taken[0];
  }
  return FreelistPop(slot, links);
}

// Takes objects that were never handed out, of those below `limit`.
uint32_t PoolCore::TakeFresh(uint32_t limit) noexcept {
  // relaxed: hands out numbers; objects made by Create were published with the
  // pool, others are made here
  uint32_t first = fresh.load(std::memory_order_relaxed);
  uint32_t count;
  do {
    if (first >= limit) return kNoIndex;
    count = Starved() ? 1 : batch;
    if (count > limit - first) count = limit - first;
  } while (!fresh.compare_exchange_weak(first, first + count,
                                        std::memory_order_relaxed,
                                        std::memory_order_relaxed));
  for (uint32_t i = 0; i < count; ++i) {
    if (first + i >= initial_objects) Create(first + i);
  }
  for (uint32_t i = count - 1; i > 0; --i) Cache(first + i);
  return first;
}

void PoolCore::Create(uint32_t index) noexcept {
  if (init != nullptr) init(Object(index), init_context);
  // R6 -> A6: the object is complete.
  links[index].store(kCreated, std::memory_order_release);
}

// Looks everywhere, makes a new object if it may, and empties the magazines of
// other CPUs if it must. kNoIndex means that at some moment since the call no
// object was idle: two searches found every slot empty, and nobody had pushed
// between the first look at a slot and the last. (Unless pushes overtook it
// kMaxRounds times; and a batch on its way between a ring and a magazine is not
// seen. A starved pool moves no batches.)
uint32_t PoolCore::TakeAny(uint32_t here) noexcept {
  uint64_t before_last = 0;
  for (int round = 0; round < kMaxRounds; ++round) {
    Seen seen;
    uint32_t index = Search(here, seen);
    if (index == kNoIndex) index = TakeFresh(max_objects);
    if (index == kNoIndex) index = TakePrivate(here);
    if (index != kNoIndex) return index;
    if (round > 0 && seen.after == before_last) break;
    before_last = seen.before;
  }
  return kNoIndex;
}

uint32_t PoolCore::Search(uint32_t here, Seen& seen) noexcept {
  uint32_t index = SearchSlot(here, seen);
  if (index != kNoIndex) return index;
  if (here != cpus) {
    index = SearchSlot(cpus, seen);
    if (index != kNoIndex) return index;
  }
  const uint32_t row = here != cpus ? here : 0;
  if (here == cpus) {
    index = SearchSlot(row, seen);
    if (index != kNoIndex) return index;
  }
  uint32_t victim = 0;
  for (StealCursor at(steal, row); at.Next(victim);) {
    if (victim >= cpus) continue;
    index = SearchSlot(victim, seen);
    if (index == kNoIndex) continue;
    Count(SlotOf(here).steals);
    return index;
  }
  return kNoIndex;
}

uint32_t PoolCore::SearchSlot(uint32_t cpu, Seen& seen) noexcept {
  const Slot& slot = SlotOf(cpu);
  seen.before += Pushes(slot);
  uint32_t index = kNoIndex;
  // Only then is it worth a line that its CPU is busy writing.
  if (Starved() && use_rseq && cpu != cpus) {
    index = TakeFrozen(MagazineOf(cpu));
  }
  if (index == kNoIndex) index = TakeShared(cpu, Starved() ? 1 : batch);
  seen.after += Pushes(slot);
  return index;
}

// Puts an object away where this CPU finds it soonest.
void PoolCore::Cache(uint32_t index) noexcept {
  if (!arch::RseqMagazinePush(magazines, Object(index), RseqOffset())) {
    Share(index);
  }
}

// Puts an object away where all CPUs can reach it. Always succeeds.
void PoolCore::Share(uint32_t index) noexcept {
  uint32_t here = HereSlot();
  const ptrdiff_t rseq = RseqOffset();
  const uint64_t mask = (uint64_t{1} << ring_shift) - 1;
  for (int attempt = 0; use_rseq && here != cpus && attempt < kMaxAttempts;
       ++attempt) {
    const auto result = RingPush(SlotOf(here), here, mask, index, rseq);
    if (result == arch::RseqResult::kDone) return;
    if (result == arch::RseqResult::kFull) break;
    here = HereSlot();
  }
  FreelistPush(SlotOf(here), links, index);
}

}  // namespace retprobe

extern "C" {

void* retprobe_pop_slow(void* magazines) noexcept {
  return static_cast<retprobe::MagazineHeader*>(magazines)[-1].core->PopSlow();
}

void retprobe_push_slow(void* magazines, void* object) noexcept {
  static_cast<retprobe::MagazineHeader*>(magazines)[-1].core->PushSlow(object);
}

}  // extern "C"
