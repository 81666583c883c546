// SPDX-License-Identifier: Apache-2.0
#include "retprobe/objpool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"
#include "base/membarrier.h"
#include "objpool/pool_core.h"
#include "topology/topology.h"

namespace retprobe {
namespace {

using Options = ObjPool::Options;
using Backend = ObjPool::Backend;

constexpr uint64_t kMaxObjectSize = uint64_t{1} << 30;
constexpr uint64_t kMaxAlignment = 4096;
constexpr int kMinRingShift = 3;
constexpr int kMaxRingShift = 16;
constexpr uint32_t kMaxBatch = 16;

absl::Status OutOfRange(const char* option, uint64_t value, uint64_t least,
                        uint64_t most) {
  return absl::InvalidArgumentError(absl::StrCat(
      "ObjPool: ", option, " is ", value, ", not in ", least, " .. ", most));
}

absl::Status Check(const Options& options) {
  if (options.object_size < 1 || options.object_size > kMaxObjectSize) {
    return OutOfRange("object_size", options.object_size, 1, kMaxObjectSize);
  }
  if (options.object_count > kMaxObjects) {
    return OutOfRange("object_count", options.object_count, 0, kMaxObjects);
  }
  if (options.max_objects == 0 && options.object_count == 0) {
    return OutOfRange("object_count", 0, 1, kMaxObjects);
  }
  if (options.max_objects != 0 && (options.max_objects < options.object_count ||
                                   options.max_objects > kMaxObjects)) {
    return OutOfRange("max_objects", options.max_objects, options.object_count,
                      kMaxObjects);
  }
  if (!std::has_single_bit(options.alignment) ||
      options.alignment > kMaxAlignment) {
    return absl::InvalidArgumentError(
        absl::StrCat("ObjPool: alignment is ", options.alignment,
                     ", not a power of two in 1 .. ", kMaxAlignment));
  }
  if (options.magazine_capacity < -1 ||
      options.magazine_capacity > RETPROBE_MAGAZINE_SLOTS) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ObjPool: magazine_capacity is ", options.magazine_capacity,
        ", not in -1 .. ", RETPROBE_MAGAZINE_SLOTS));
  }
  return absl::OkStatus();
}

// Whether to use rseq.
absl::StatusOr<bool> ChooseRseq(Backend wanted) {
  if (wanted == Backend::kCas) return false;
  if (wanted == Backend::kAuto) {
    const char* forced = std::getenv("RETPROBE_POOL_BACKEND");
    if (forced != nullptr && std::strcmp(forced, "cas") == 0) return false;
  }
  absl::Status status =
      RseqAvailable() ? RegisterMembarrier(Membarrier::kRseq)
                      : absl::UnimplementedError(
                            "restartable sequences do not work here (glibc "
                            "2.35, Linux 4.18; valgrind, emulators and "
                            "glibc.pthread.rseq=0 turn them off)");
  if (status.ok()) return true;
  if (wanted == Backend::kAuto) return false;
  return absl::UnimplementedError(
      absl::StrCat("ObjPool: backend is kRseq: ", status.message()));
}

uint64_t RoundUp(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The one mapping that holds a pool: offsets from its beginning.
struct Layout {
  uint64_t magazines;
  uint64_t slots;
  uint64_t links;
  uint64_t in_use;
  uint64_t objects;
  uint64_t end;
};

void FillIn(const Options& options, bool use_rseq, const Topology& topology,
            PoolShape& core) {
  core.use_rseq = use_rseq;
  core.cpus = topology.cpus;
  core.steal = topology.steal_table();
  core.init = options.init;
  core.init_context = options.init_context;
  core.initial_objects = options.object_count;
  core.max_objects = std::max(options.max_objects, options.object_count);
  core.object_stride = RoundUp(options.object_size, options.alignment);
  core.stride_shift = std::countr_zero(core.object_stride);
  const uint64_t odd = core.object_stride >> core.stride_shift;
  core.stride_inverse = odd;  // right for the 3 lowest bits; each step doubles
  for (int bits = 3; bits < 64; bits *= 2) {
    core.stride_inverse *= 2 - odd * core.stride_inverse;
  }

  const uint64_t share = (core.max_objects + core.cpus - 1) / core.cpus;
  core.ring_shift = std::clamp(static_cast<int>(std::bit_width(2 * share - 1)),
                               kMinRingShift, kMaxRingShift);
  core.normal_capacity =
      RETPROBE_DEBUG_CHECKS ? 0
      : options.magazine_capacity >= 0
          ? options.magazine_capacity
          : std::clamp<uint64_t>(share / 2, 1, RETPROBE_MAGAZINE_SLOTS);
  core.batch = std::clamp<uint32_t>(core.normal_capacity / 2, 1, kMaxBatch);
  if (!use_rseq) {
    core.normal_capacity = 1;
    core.batch = 1;
  }

  const uint64_t ring = use_rseq ? sizeof(uint32_t) << core.ring_shift : 0;
  core.slot_stride = RoundUp(sizeof(Slot) + ring, kCacheLine);
}

Layout Plan(const PoolShape& core) {
  Layout layout;
  layout.magazines =
      RoundUp(sizeof(PoolCore) + sizeof(MagazineHeader), sizeof(Magazine));
  layout.slots = layout.magazines + core.cpus * sizeof(Magazine);
  layout.links = layout.slots + (core.cpus + uint64_t{1}) * core.slot_stride;
  layout.in_use = layout.links + core.max_objects * sizeof(uint32_t);
  layout.objects =
      RoundUp(layout.in_use + (RETPROBE_DEBUG_CHECKS ? core.max_objects : 0),
              kMaxAlignment);
  layout.end = layout.objects + core.max_objects * core.object_stride;
  return layout;
}

// Makes a pool of `memory`, which is zero.
PoolCore* Furnish(std::byte* memory, const Layout& layout,
                  const PoolShape& shape) {
  auto* core = new (memory) PoolCore();
  static_cast<PoolShape&>(*core) = shape;
  core->magazines = memory + layout.magazines;
  core->slots = memory + layout.slots;
  core->objects = memory + layout.objects;
  core->links = reinterpret_cast<std::atomic<uint32_t>*>(memory + layout.links);
  core->in_use =
      RETPROBE_DEBUG_CHECKS
          ? reinterpret_cast<std::atomic<uint8_t>*>(memory + layout.in_use)
          : nullptr;
  core->header().cpus = shape.use_rseq ? shape.cpus : 0;
  core->header().capacity = shape.normal_capacity;
  core->header().core = core;
  for (uint32_t index = 0; index < shape.initial_objects; ++index) {
    core->Create(index);
  }
  return core;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ObjPool>> ObjPool::Create(
    const Options& options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
  const absl::StatusOr<bool> use_rseq = ChooseRseq(options.backend);
  if (!use_rseq.ok()) return use_rseq.status();
  PrepareCurrentCpu();

  PoolShape shape = {};
  FillIn(options, *use_rseq,
         options.topology != nullptr ? *options.topology : SystemTopology(),
         shape);
  const Layout layout = Plan(shape);
  void* memory = mmap(nullptr, layout.end, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("ObjPool: no address space for ", layout.end,
                     " bytes (max_objects ", shape.max_objects, " of ",
                     shape.object_stride, " bytes): ", strerror(errno)));
  }
  PoolCore* core = Furnish(static_cast<std::byte*>(memory), layout, shape);
  return std::unique_ptr<ObjPool>(new ObjPool(core, layout.end));
}

ObjPool::ObjPool(PoolCore* core, size_t mapped) noexcept
    : magazines_(core->magazines),
      rseq_(RseqOffset()),
      core_(core),
      mapped_(mapped) {
  core->header().pool = this;
}

ObjPool::~ObjPool() { munmap(core_, mapped_); }

void* ObjPool::Pop() noexcept { return PoolCore::Pop(magazines_, rseq_); }

void ObjPool::Push(void* object) noexcept {
  PoolCore::Push(magazines_, object, rseq_);
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

size_t ObjPool::created() const noexcept { return core_->created(); }

size_t ObjPool::capacity() const noexcept { return core_->max_objects; }

ObjPool::Backend ObjPool::backend() const noexcept {
  return core_->use_rseq ? Backend::kRseq : Backend::kCas;
}

int ObjPool::magazine_capacity() const noexcept {
  if (!core_->use_rseq) return 0;
  // relaxed: a hint
  return static_cast<int>(std::atomic_ref<uint64_t>(core_->header().capacity)
                              .load(std::memory_order_relaxed));
}

ObjPool::Stats ObjPool::GetStats() const noexcept {
  Stats stats;
  for (uint32_t i = 0; i <= core_->cpus; ++i) {
    const Slot& slot = core_->SlotOf(i);
    // relaxed, all: statistics
    stats.pushes +=
        slot.tail.load(std::memory_order_relaxed) +
        (slot.freelist.load(std::memory_order_relaxed) >> kIndexBits);
    stats.steals += slot.steals.load(std::memory_order_relaxed);
    stats.drains += slot.drains.load(std::memory_order_relaxed);
    stats.misses += slot.misses.load(std::memory_order_relaxed);
  }
  stats.grown = core_->created() - core_->initial_objects;
  return stats;
}

}  // namespace retprobe
