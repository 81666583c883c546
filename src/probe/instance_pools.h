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
  // The largest sum of data that the handlers of one function may have, bytes.
  static constexpr size_t kMaxData = 4096;

  // The pool whose instances have room for `data_size` bytes.
  // Errors: kInvalidArgument beyond kMaxData; what ActiveConfig and
  // ObjPool::Create report.
  absl::StatusOr<ObjPool*> ForDataSize(size_t data_size);

  // The pools there are now; each lives as long as the process.
  std::vector<const ObjPool*> All() const;

  // Every instance there ever was, in use or not.
  void ForEach(absl::FunctionRef<void(ReturnInstance&)> visit) const;

 private:
  static constexpr std::array<size_t, 5> kClasses = {0, 64, 256, 1024,
                                                     kMaxData};
  std::array<std::unique_ptr<ObjPool>, kClasses.size()> pools_;
};

}  // namespace retprobe

#endif  // RETPROBE_PROBE_INSTANCE_POOLS_H_
