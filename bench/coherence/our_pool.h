// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_OUR_POOL_H_
#define RETPROBE_BENCH_COHERENCE_OUR_POOL_H_

#include <cstddef>
#include <memory>
#include <string>

#include "coherence/model.h"
#include "retprobe/objpool.h"

namespace retprobe::bench {

// Our pool as ObjPool::Create makes it for the machine that `topology`
// describes, its algorithms compiled for the virtual CPUs. Null where the
// backend does not work (restartable sequences must, to be modelled).
// `count_operations`: every operation also adds to a count that all CPUs share.
// For tests of the tests.
std::unique_ptr<ModelPool> MakeOurPool(const std::string& topology,
                                       ObjPool::Backend backend, size_t objects,
                                       bool count_operations = false);

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_OUR_POOL_H_
