// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_OPTIONS_H_
#define RETPROBE_OBJPOOL_OPTIONS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retprobe/objpool.h"
#include "topology/topology.h"

namespace retprobe {

// `options` with what they leave at its default as the configuration has it.
// Errors: ActiveConfig's.
absl::StatusOr<ObjPool::Options> Configured(ObjPool::Options options);

// kInvalidArgument, naming the option and its range.
absl::Status CheckOptions(const ObjPool::Options& options,
                          const Topology& topology);

// The backend to use where `wanted` is asked for: what works here (tried once).
// Never kAuto. Errors: kUnimplemented, kRseq where there is none.
absl::StatusOr<ObjPool::Backend> ChooseBackend(ObjPool::Backend wanted);

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_OPTIONS_H_
