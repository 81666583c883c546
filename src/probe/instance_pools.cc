// SPDX-License-Identifier: Apache-2.0
#include "probe/instance_pools.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"
#include "objpool/magazine.h"
#include "retprobe/config.h"

namespace retprobe {
namespace {

// Enough that a magazine per CPU is never starved by a few threads in flight.
constexpr size_t kInstancesPerCpu = 64;
// What a pool may grow to: address space, not memory, until it is used.
constexpr size_t kMaxBytes = size_t{1} << 30;
constexpr size_t kMaxInstances = size_t{1} << 21;
// But even the largest instances may be so many.
constexpr size_t kLeastMax = 64;

// What the configuration leaves open and is not the pool's own default.
ObjPool::Options OptionsFor(size_t object_size, const PoolConfig& config) {
  ObjPool::Options options;
  options.object_size = object_size;
  options.magazine_capacity =
      config.magazine_capacity.value_or(RETPROBE_MAGAZINE_SLOTS);
  const size_t most =
      std::clamp(kMaxBytes / object_size, kLeastMax, kMaxInstances);
  const size_t usual =
      std::min(most, kInstancesPerCpu * static_cast<size_t>(PossibleCpus()));
  options.object_count = config.objects.value_or(
      std::min(usual, config.max_objects.value_or(usual)));
  options.max_objects =
      config.max_objects.value_or(std::max(options.object_count, most));
  options.idle_readable = true;  // Retired::Reclaim looks at all instances
  return options;
}

}  // namespace

size_t InstancePools::RoomOf(size_t index) {
  constexpr size_t kSmall[] = {0, 64, 256, 1024};
  if (index < std::size(kSmall)) return kSmall[index];
  return std::min(size_t{4096} << (index - std::size(kSmall)), kMaxData);
}

absl::StatusOr<ObjPool*> InstancePools::ForDataSize(size_t data_size) {
  static_assert(size_t{4096} << (kClasses - 5) > kMaxData);
  for (size_t i = 0; i < kClasses; ++i) {
    if (data_size > RoomOf(i)) continue;
    if (pools_[i] == nullptr) {
      const absl::StatusOr<Config> config = ActiveConfig();
      if (!config.ok()) return config.status();
      const ObjPool::Options options =
          OptionsFor(sizeof(ReturnInstance) + RoomOf(i), config->pool);
      absl::StatusOr<std::unique_ptr<ObjPool>> pool = ObjPool::Create(options);
      if (!pool.ok()) return pool.status();
      pools_[i] = *std::move(pool);
    }
    return pools_[i].get();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "the handlers of one function want ", data_size,
      " bytes of data per activation; at most ", kMaxData, " are possible"));
}

std::vector<const ObjPool*> InstancePools::All() const {
  std::vector<const ObjPool*> all;
  for (const std::unique_ptr<ObjPool>& pool : pools_) {
    if (pool != nullptr) all.push_back(pool.get());
  }
  return all;
}

void InstancePools::ForEach(
    absl::FunctionRef<void(ReturnInstance&)> visit) const {
  for (const ObjPool* pool : All()) {
    pool->ForEachObject(
        [&](void* object) { visit(*static_cast<ReturnInstance*>(object)); });
  }
}

}  // namespace retprobe
