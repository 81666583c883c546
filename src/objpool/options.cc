// SPDX-License-Identifier: Apache-2.0
#include "objpool/options.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"
#include "base/membarrier.h"
#include "objpool/freelist.h"
#include "retprobe/config.h"

namespace retprobe {
namespace {

using Backend = ObjPool::Backend;

constexpr uint64_t kMaxObjectSize = uint64_t{1} << 30;
constexpr uint64_t kMaxAlignment = 4096;
constexpr uint64_t kMaxMagazine = RETPROBE_MAGAZINE_SLOTS;
constexpr uint64_t kMinRing = 8;
constexpr uint64_t kMaxRing = 65536;

// Both are numbered alike.
using Placement = ObjPool::Placement;
static_assert(static_cast<int>(Backend::kFreelist) ==
              static_cast<int>(PoolBackend::kFreelist));
static_assert(static_cast<int>(Placement::kNode) ==
              static_cast<int>(PoolPlacement::kNode));

absl::Status OutOfRange(const char* option, int64_t value, uint64_t least,
                        uint64_t most) {
  return absl::InvalidArgumentError(absl::StrCat(
      "ObjPool: ", option, " is ", value, ", not in ", least, " .. ", most));
}

absl::Status CheckNode(const ObjPool::Options& options,
                       const Topology& topology) {
  if (options.placement != ObjPool::Placement::kNode ||
      topology.HasNode(options.node)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("ObjPool: node is ", options.node, ", and the nodes are ",
                   topology.NodeList()));
}

}  // namespace

absl::Status CheckOptions(const ObjPool::Options& options,
                          const Topology& topology) {
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
  if (options.growth_chunk > kMaxObjects) {
    return OutOfRange("growth_chunk", options.growth_chunk, 0, kMaxObjects);
  }
  if (!std::has_single_bit(options.alignment) ||
      options.alignment > kMaxAlignment) {
    return absl::InvalidArgumentError(
        absl::StrCat("ObjPool: alignment is ", options.alignment,
                     ", not a power of two in 1 .. ", kMaxAlignment));
  }
  if (options.magazine_capacity < -1 ||
      options.magazine_capacity > static_cast<int>(kMaxMagazine)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ObjPool: magazine_capacity is ", options.magazine_capacity,
        ", not in -1 .. ", kMaxMagazine));
  }
  if (options.ring_capacity != 0 &&
      (options.ring_capacity < kMinRing || options.ring_capacity > kMaxRing)) {
    return OutOfRange("ring_capacity", options.ring_capacity, kMinRing,
                      kMaxRing);
  }
  return CheckNode(options, topology);
}

absl::StatusOr<ObjPool::Options> Configured(ObjPool::Options options) {
  const absl::StatusOr<Config> config = ActiveConfig();
  if (!config.ok()) return config.status();
  const PoolConfig& pool = config->pool;
  if (options.object_count == 0 && options.max_objects == 0) {
    options.object_count = pool.objects.value_or(0);
    options.max_objects = pool.max_objects.value_or(0);
  }
  if (options.growth_chunk == 0) {
    options.growth_chunk = pool.growth_chunk.value_or(0);
  }
  if (options.magazine_capacity == -1) {
    options.magazine_capacity = pool.magazine_capacity.value_or(-1);
  }
  if (options.ring_capacity == 0) {
    options.ring_capacity = pool.ring_capacity.value_or(0);
  }
  if (options.backend == Backend::kAuto) {
    options.backend = static_cast<Backend>(pool.backend);
  }
  if (options.placement == Placement::kLocal) {
    options.placement = static_cast<Placement>(pool.placement);
    options.node = pool.node;
  }
  options.push_home = options.push_home && pool.push_home;
  options.huge_pages = options.huge_pages || pool.huge_pages;
  return options;
}

absl::StatusOr<Backend> ChooseBackend(Backend wanted) {
  const bool forced = wanted != Backend::kAuto;
  if (forced && wanted != Backend::kRseq) return wanted;
  const absl::Status status =
      RseqAvailable() ? RegisterMembarrier(Membarrier::kRseq)
                      : absl::UnimplementedError(
                            "restartable sequences do not work here (glibc "
                            "2.35, Linux 4.18; valgrind, emulators and "
                            "glibc.pthread.rseq=0 turn them off)");
  if (status.ok()) return Backend::kRseq;
  if (!forced) return Backend::kCas;
  return absl::UnimplementedError(
      absl::StrCat("ObjPool: backend is rseq: ", status.message()));
}

}  // namespace retprobe
