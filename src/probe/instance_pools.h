// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_INSTANCE_POOLS_H_
#define RETPROBE_PROBE_INSTANCE_POOLS_H_

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "rethook/instance.h"
#include "retprobe/objpool.h"

namespace retprobe {

// The pools that instances come from, one per size class of handlers' data,
// made when first wanted. All probes share them: a pool's objects wait where
// there are calls, not where somebody guessed a maxactive. How large they are
// is the configuration's.
//
// Not thread-safe: the registry's lock.
class InstancePools {
 public:
  // The largest sum of data that the handlers of one function may have, bytes:
  // an object of a pool has at most 1 GiB.
  static constexpr size_t kMaxData = (size_t{1} << 30) - 4096;
  static_assert(sizeof(ReturnInstance) <= 4096);

  // The pool whose instances have room for `data_size` bytes.
  // Errors: kInvalidArgument beyond kMaxData; what ActiveConfig and
  // ObjPool::Create report, so kResourceExhausted where the pool's address
  // space is not to be had.
  absl::StatusOr<ObjPool*> ForDataSize(size_t data_size);

  // The pools there are now; each lives as long as the process.
  std::vector<const ObjPool*> All() const;

  // Every instance there ever was, in use or not.
  void ForEach(absl::FunctionRef<void(ReturnInstance&)> visit) const;

 private:
  // 0, 64, 256, 1,024 and then powers of two; the last has kMaxData.
  static constexpr size_t kClasses = 23;
  static size_t RoomOf(size_t index);

  std::array<std::unique_ptr<ObjPool>, kClasses> pools_;
};

}  // namespace retprobe

#endif  // RETPROBE_PROBE_INSTANCE_POOLS_H_
