// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "objpool/closing.h"
#include "objpool/debug_checks.h"
#include "objpool/objpool_hot.h"
#include "retprobe/objpool.h"

// What a pool tells of itself, and how it is told to change.

namespace retprobe {
namespace {

// Marks the objects that wait in `place`. Requires: nobody pops or pushes.
void MarkIdleIn(PoolCore& core, uint32_t place, std::vector<bool>& idle) {
  Slot<Native>& slot = core.SlotOf(place);
  slot.freelist.ForEach(core.links, [&](uint32_t i) { idle[i] = true; });
  if (place >= core.cpus) return;
  // relaxed, all: nobody writes
  slot.spares.ForEach([&](uint32_t i) { idle[i] = true; });
  if (core.use_rseq) {
    slot.ring.ForEach(core.entries + (uint64_t{place} << core.ring_shift),
                      (uint64_t{1} << core.ring_shift) - 1,
                      [&](uint32_t i) { idle[i] = true; });
  }
  if (!core.use_magazines) return;
  const Magazine& magazine = core.MagazineOf(place);
  const int64_t front = magazine.front.load(std::memory_order_relaxed);
  if (IsFrozen(front)) {
    idle[FrozenValue(front)] = true;
  } else if (front > 0) {
    idle[core.Index(reinterpret_cast<void*>(front))] = true;
  }
  int64_t count = magazine.count.load(std::memory_order_relaxed);
  if (count < 0) count = IsFrozen(count) ? FrozenValue(count) : 0;
  while (count > 0) {
    idle[core.Index(reinterpret_cast<void*>(
        magazine.objects[--count].load(std::memory_order_relaxed)))] = true;
  }
}

}  // namespace

std::vector<void*> ObjPool::InUse() const {
  PoolCore& core = *core_;
  std::vector<bool> idle(core.max_objects);
  for (uint32_t place = 0; place < core.places(); ++place) {
    MarkIdleIn(core, place, idle);
  }
  for (uint32_t node = 0; node < core.nodes; ++node) {
    const ObjectRange<Native>& range = core.ranges[node];
    // relaxed: nobody writes
    uint32_t i = range.begin + range.fresh.load(std::memory_order_relaxed);
    for (; i < range.initial_end; ++i) idle[i] = true;
  }
  std::vector<void*> in_use;
  core.ForEachObject([&](void* object) {
    if (!idle[core.Index(object)]) in_use.push_back(object);
  });
  return in_use;
}

void ObjPool::Drop(void* object) noexcept {
  CheckPush(*core_, object);
  core_->Drop(core_->Index(object));
}

void ObjPool::TakeBack(void* object) noexcept {
  if (core_->seals != nullptr) {
    // relaxed: nobody pops or pushes
    core_->seals[core_->Index(object)].store(kInUse, std::memory_order_relaxed);
  }
  AllowUse(object, core_->object_stride);
  Push(object);
}

absl::Status ObjPool::Resize(size_t object_count, size_t max_objects) {
  PoolCore& core = *core_;
  if (object_count < 1 || object_count > core.max_objects) {
    return absl::InvalidArgumentError(
        absl::StrCat("ObjPool: Resize: object_count is ", object_count,
                     ", not in 1 .. ", core.max_objects));
  }
  if (max_objects == 0) max_objects = object_count;
  if (max_objects < object_count || max_objects > core.max_objects) {
    return absl::InvalidArgumentError(
        absl::StrCat("ObjPool: Resize: max_objects is ", max_objects,
                     ", not in ", object_count, " .. ", core.max_objects));
  }
  return core.Resize(object_count, max_objects)
             ? absl::OkStatus()
             : absl::ResourceExhaustedError(
                   "ObjPool: Resize: others grew or dropped objects meanwhile");
}

size_t ObjPool::Drain(int cpu) noexcept {
  return cpu >= 0 ? core_->DrainCpu(static_cast<uint32_t>(cpu)) : 0;
}

bool ObjPool::Contains(const void* object) const noexcept {
  return core_->Contains(object);
}

size_t ObjPool::IndexOf(const void* object) const noexcept {
  return core_->Index(object);
}

void* ObjPool::ObjectAt(size_t index) const noexcept {
  return index < core_->max_objects
             ? core_->ObjectAt(static_cast<uint32_t>(index))
             : nullptr;
}

void* ObjPool::NextObject(size_t& index) const noexcept {
  for (uint32_t node = 0; node < core_->nodes; ++node) {
    const ObjectRange<Native>& range = core_->ranges[node];
    if (index < range.begin) index = range.begin;
    const uint32_t end = core_->HandedOut(range);
    for (; index < end; ++index) {
      void* object = core_->ObjectAt(static_cast<uint32_t>(index));
      if (object != nullptr) return object;
    }
  }
  return nullptr;
}

size_t ObjPool::created() const noexcept {
  // relaxed: a count
  return PoolCore::Live(core_->population.load(std::memory_order_relaxed));
}

size_t ObjPool::capacity() const noexcept { return core_->max_objects; }

ObjPool::Backend ObjPool::backend() const noexcept { return backend_; }

int ObjPool::magazine_capacity() const noexcept {
  const MagazineHeader& header = core_->header();
  // relaxed: a hint
  return IsOpen(header.state.load(std::memory_order_relaxed))
             ? static_cast<int>(
                   header.capacity.load(std::memory_order_relaxed)) +
                   1
             : 0;
}

size_t ObjPool::overhead() const noexcept {
  return core_->mapped - core_->objects_mapped;
}

ObjPool::Stats ObjPool::GetStats() const noexcept {
  Stats stats;
  // relaxed, all: statistics
  for (uint32_t i = 0; i < core_->places(); ++i) {
    const Slot<Native>& slot = core_->SlotOf(i);
    stats.pushes +=
        slot.ring.pushes() + slot.spares.pushes() + slot.freelist.pushes();
    stats.steals += slot.steals.load(std::memory_order_relaxed);
    stats.misses += slot.misses.load(std::memory_order_relaxed);
  }
  stats.drains = core_->drains.load(std::memory_order_relaxed);
  stats.grown = core_->grown.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace retprobe
