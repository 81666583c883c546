// SPDX-License-Identifier: Apache-2.0
#include "retprobe/objpool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"
#include "objpool/debug_checks.h"
#include "objpool/objpool_hot.h"
#include "objpool/options.h"
#include "topology/memory.h"
#include "topology/topology.h"

namespace retprobe {
namespace {

using Options = ObjPool::Options;
using Backend = ObjPool::Backend;
using Placement = ObjPool::Placement;

constexpr uint64_t kPage = 4096;
constexpr int kMinRingShift = 3;
constexpr int kMaxRingShift = 16;
constexpr uint32_t kMaxBatch = 16;

// Where the objects' shares lie: the nodes that have CPUs, or one for all.
struct Shares {
  std::vector<int> nodes;  // ids, as the system counts
  std::vector<uint32_t> cpus;
  std::vector<uint16_t> of_cpu;
};

Shares ShareOut(const Options& options, const Topology& topology,
                uint32_t cpus) {
  Shares shares;
  shares.of_cpu.resize(cpus, 0);
  if (options.placement != Placement::kLocal || cpus == 0) {
    shares.nodes = {options.node};
    shares.cpus = {std::max<uint32_t>(cpus, 1)};
    return shares;
  }
  for (const int node : topology.nodes) {
    const std::vector<int> members = topology.CpusOf(node);
    if (members.empty()) continue;
    for (const int cpu : members) shares.of_cpu[cpu] = shares.nodes.size();
    shares.nodes.push_back(node);
    shares.cpus.push_back(members.size());
  }
  return shares;
}

// The one mapping that holds a pool: offsets from its beginning.
struct Layout {
  uint64_t pool;
  uint64_t magazines;
  uint64_t ranges;
  uint64_t slots;
  uint64_t entries;
  uint64_t flags;
  uint64_t node_of_cpu;
  uint64_t links;
  uint64_t seals;
  uint64_t objects;
  uint64_t end;
};

uint64_t RoundUp(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

void SetStride(uint64_t stride, PoolShape<Native>& shape) {
  shape.object_stride = stride;
  shape.stride_shift = std::countr_zero(stride);
  const uint64_t odd = stride >> shape.stride_shift;
  shape.stride_inverse = odd;  // right for the 3 lowest bits; each step doubles
  for (int bits = 3; bits < 64; bits *= 2) {
    shape.stride_inverse *= 2 - odd * shape.stride_inverse;
  }
}

// Everything but addresses. Returns what a CPU may keep to itself.
uint64_t FillIn(const Options& options, Backend backend,
                const Topology& topology, PoolShape<Native>& shape) {
  shape.use_rseq = backend == Backend::kRseq;
  shape.cpus = backend == Backend::kFreelist ? 0 : topology.cpus;
  shape.steal = topology.steal_table();
  shape.init = options.init;
  shape.fini = options.fini;
  shape.context = options.context;
  shape.idle_readable = options.idle_readable;
  shape.watched = RETPROBE_DEBUG_CHECKS || MemoryIsWatched();
  shape.initial_objects = options.object_count;
  shape.max_objects = std::max(options.max_objects, options.object_count);
  shape.use_spares =
      backend == Backend::kCas && shape.max_objects <= kMaxSpares;
  SetStride(RoundUp(options.object_size, options.alignment), shape);

  const uint64_t cpus = std::max<uint64_t>(shape.cpus, 1);
  const uint64_t share = (shape.max_objects + cpus - 1) / cpus;
  shape.ring_shift = std::clamp(
      static_cast<int>(std::bit_width(
          (options.ring_capacity != 0 ? options.ring_capacity : 2 * share) -
          1)),
      kMinRingShift, kMaxRingShift);
  uint64_t keep =
      options.magazine_capacity >= 0
          ? options.magazine_capacity
          : std::clamp<uint64_t>(share / 2, 1, RETPROBE_MAGAZINE_SLOTS);
  // At most half of what one may keep.
  const auto batch = [&keep] {
    return std::clamp<uint32_t>(keep / 2, 1, kMaxBatch);
  };
  shape.batch = shape.use_spares ? batch() : 1;
  if (RETPROBE_DEBUG_CHECKS || RETPROBE_ASAN || !shape.use_rseq) keep = 0;
  if (shape.use_rseq) shape.batch = batch();
  shape.use_magazines = keep != 0;
  shape.closes = shape.use_magazines || shape.use_spares;
  shape.growth_chunk =
      options.growth_chunk != 0 ? options.growth_chunk : batch();
  // On many CPUs each sees little of what all do.
  shape.calm_pushes =
      std::bit_ceil(std::clamp<uint32_t>(64 * shape.cpus, 256, 16384));
  // A search costs some 3 ns for each place. Clearing costs a membarrier, some
  // 3 us; without rseq, and with the next push, some 30 ns for each place.
  shape.futile_limit =
      shape.use_rseq
          ? 1024 / std::clamp<uint32_t>(shape.cpus + shape.nodes, 2, 32)
          : 16;
  shape.array_capacity = static_cast<uint32_t>(keep != 0 ? keep - 1 : 0);
  shape.sole_capacity = options.magazine_capacity >= 0
                            ? shape.array_capacity
                            : RETPROBE_MAGAZINE_SLOTS;

  return keep;
}

}  // namespace

// What Create does, and what undoes it.
struct PoolSetUp {
  static constexpr uint64_t kMagazinesOffset = ObjPool::kMagazinesOffset;
  static_assert(sizeof(ObjPool) + sizeof(MagazineHeader) <= kMagazinesOffset);

  static Layout Plan(const PoolShape<Native>& shape);
  static ObjPool* Furnish(std::byte* memory, const Layout& layout,
                          const PoolShape<Native>& shape, const Shares& shares,
                          uint64_t keep, Backend backend);
  static absl::Status Place(PoolCore& core, const Options& options,
                            const Shares& shares);
  static void Release(MagazineHeader& header);
};

Layout PoolSetUp::Plan(const PoolShape<Native>& shape) {
  Layout layout;
  const uint64_t places = uint64_t{shape.cpus} + shape.nodes;
  layout.magazines =
      RoundUp(sizeof(PoolCore) + PoolSetUp::kMagazinesOffset, sizeof(Magazine));
  layout.pool = layout.magazines - PoolSetUp::kMagazinesOffset;
  layout.ranges = layout.magazines +
                  (shape.use_magazines ? shape.cpus * sizeof(Magazine) : 0);
  layout.slots = layout.ranges + shape.nodes * sizeof(ObjectRange<Native>);
  layout.entries = layout.slots + places * sizeof(Slot<Native>);
  const uint64_t ring = sizeof(uint32_t) << shape.ring_shift;
  layout.flags = layout.entries + (shape.use_rseq ? shape.cpus * ring : 0);
  layout.node_of_cpu = layout.flags + places * sizeof(uint64_t);
  layout.links =
      RoundUp(layout.node_of_cpu + shape.cpus * sizeof(uint16_t), kCacheLine);
  layout.seals =
      RoundUp(layout.links + shape.max_objects * sizeof(uint32_t), kCacheLine);
  const uint64_t seals = shape.max_objects * sizeof(uint64_t);
  layout.objects =
      RoundUp(layout.seals + (RETPROBE_DEBUG_CHECKS ? seals : 0), kPage);
  layout.end = layout.objects + shape.max_objects * shape.object_stride;
  return layout;
}

// Makes a pool of `memory`, which is zero.
ObjPool* PoolSetUp::Furnish(std::byte* memory, const Layout& layout,
                            const PoolShape<Native>& shape,
                            const Shares& shares, uint64_t keep,
                            Backend backend) {
  auto* core = new (memory) PoolCore();
  static_cast<PoolShape<Native>&>(*core) = shape;
  core->memory = memory;
  core->mapped = layout.end;
  core->objects_mapped = layout.end - layout.objects;
  core->release = Release;
  core->magazines = memory + layout.magazines;
  core->ranges = reinterpret_cast<ObjectRange<Native>*>(memory + layout.ranges);
  core->slots = reinterpret_cast<Slot<Native>*>(memory + layout.slots);
  core->entries =
      reinterpret_cast<std::atomic<uint32_t>*>(memory + layout.entries);
  core->flags = reinterpret_cast<std::atomic<uint64_t>*>(memory + layout.flags);
  core->links = reinterpret_cast<std::atomic<uint32_t>*>(memory + layout.links);
  core->objects = memory + layout.objects;
  if (RETPROBE_DEBUG_CHECKS) {
    core->seals =
        reinterpret_cast<std::atomic<uint64_t>*>(memory + layout.seals);
  }
  auto* node_of_cpu = reinterpret_cast<uint16_t*>(memory + layout.node_of_cpu);
  std::copy(shares.of_cpu.begin(), shares.of_cpu.end(), node_of_cpu);
  core->node_of_cpu = node_of_cpu;

  // Each node's share by its CPUs, what is left over to the last.
  uint64_t cpus = 0;
  uint64_t all_cpus = 0;
  for (const uint32_t count : shares.cpus) all_cpus += count;
  uint32_t begin = 0;
  uint32_t initial = 0;
  for (uint32_t node = 0; node < shape.nodes; ++node) {
    cpus += shares.cpus[node];
    ObjectRange<Native>& range = core->ranges[node];
    const auto upto = [&](uint64_t all) {
      return static_cast<uint32_t>(all * cpus / all_cpus);
    };
    range.begin = begin;
    range.initial_end = begin + upto(shape.initial_objects) - initial;
    range.end = std::max(upto(shape.max_objects), range.initial_end);
    initial = upto(shape.initial_objects);
    begin = range.end;
  }

  core->population =
      PoolCore::Population(shape.initial_objects, shape.max_objects);
  MagazineHeader& header = core->header();
  header.cpus = shape.use_magazines ? shape.cpus : 0;
  header.capacity = shape.array_capacity;
  header.misses = &core->slots->misses;
  header.core = static_cast<BasicPoolCore<Native>*>(core);
  if (shape.use_spares && !shape.watched) {
    header.lean = core->slots;
    header.lean_cpus = shape.cpus;
  }
  header.state = kFresh | header.cpus | (shape.closes ? kUnsettled : 0);
  header.pool =
      new (memory + layout.pool) ObjPool(core, backend, shape.use_magazines);
  return header.pool;
}

absl::Status PoolSetUp::Place(PoolCore& core, const Options& options,
                              const Shares& shares) {
  if (options.placement == Placement::kInterleave) {
    return InterleaveMemory(core.objects, core.objects_mapped);
  }
  if (options.placement == Placement::kNode) {
    return BindMemory(core.objects, core.objects_mapped, options.node);
  }
  if (core.nodes == 1) return absl::OkStatus();
  for (uint32_t node = 0; node < core.nodes; ++node) {
    const auto at = [&core](uint32_t index) {
      return RoundUp(index * core.object_stride, kPage);
    };
    const uint64_t begin = at(core.ranges[node].begin);
    const uint64_t end = std::min(at(core.ranges[node].end),
                                  RoundUp(core.objects_mapped, kPage));
    if (begin >= end) continue;
    absl::Status status =
        BindMemory(core.objects + begin, end - begin, shares.nodes[node]);
    // A machine made up for a test has nodes that this one has not.
    if (!status.ok() && options.topology == nullptr) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ObjPool>> ObjPool::Create(
    const Options& asked_for) {
  const absl::StatusOr<Options> configured = Configured(asked_for);
  if (!configured.ok()) return configured.status();
  const Options& options = *configured;
  const Topology& topology =
      options.topology != nullptr ? *options.topology : SystemTopology();
  if (absl::Status status = CheckOptions(options, topology); !status.ok()) {
    return status;
  }
  const absl::StatusOr<Backend> backend = ChooseBackend(options.backend);
  if (!backend.ok()) return backend.status();
  PrepareCurrentCpu();

  PoolShape<Native> shape = {};
  const uint64_t keep = FillIn(options, *backend, topology, shape);
  const Shares shares = ShareOut(options, topology, shape.cpus);
  shape.nodes = shares.nodes.size();
  shape.push_home = options.push_home && shape.nodes > 1;
  const Layout layout = PoolSetUp::Plan(shape);
  void* memory = mmap(nullptr, layout.end, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("ObjPool: no address space for ", layout.end,
                     " bytes (max_objects ", shape.max_objects, " of ",
                     shape.object_stride, " bytes): ", strerror(errno)));
  }
  // Before the first touch: one huge page over the end of the metadata would
  // have objects in it, on a node that nobody chose. Metadata is touched by
  // each CPU for itself; no page of it is worth 2 MiB. On kernels without huge
  // pages all is well, too.
  AllowHugePages(memory, layout.end, false).IgnoreError();
  if (options.huge_pages) {
    AllowHugePages(static_cast<std::byte*>(memory) + layout.objects,
                   layout.end - layout.objects, true)
        .IgnoreError();
  }
  std::unique_ptr<ObjPool> pool(PoolSetUp::Furnish(
      static_cast<std::byte*>(memory), layout, shape, shares, keep, *backend));
  PoolCore& core = *pool->core_;
  absl::Status status = PoolSetUp::Place(core, options, shares);
  if (!status.ok()) return status;
  BeginPool(core.objects);
  for (uint32_t node = 0; node < core.nodes; ++node) {
    const ObjectRange<Native>& range = core.ranges[node];
    for (uint32_t i = range.begin; i < range.initial_end; ++i) core.Create(i);
  }
  core.released = options.release;
  return pool;
}

ObjPool::ObjPool(PoolCore* core, Backend backend, bool has_magazines) noexcept
    : rseq_(RseqOffset()),
      core_(core),
      backend_(backend),
      has_magazines_(has_magazines) {}

// Calls nothing that a signal handler may not.
void PoolSetUp::Release(MagazineHeader& header) {
  const auto& core = *static_cast<const PoolCore*>(header.core);
  EndPool(core.objects);
  AllowUse(core.objects, core.objects_mapped);
  if (core.released != nullptr) core.released(core.context);
  munmap(core.memory, core.mapped);
}

void ObjPool::operator delete(ObjPool* pool,
                              std::destroying_delete_t) noexcept {
  PoolCore& core = *pool->core_;
  CheckEnd(core);
  if (core.fini != nullptr) {
    core.ForEachObject(
        [&core](void* object) { core.fini(object, core.context); });
  }
  PoolSetUp::Release(core.header());
}

void ObjPool::Fini(std::unique_ptr<ObjPool> pool) noexcept {
  pool.release()->core_->Fini();
}

}  // namespace retprobe
