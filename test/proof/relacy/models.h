// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PROOF_RELACY_MODELS_H_
#define RETPROBE_TEST_PROOF_RELACY_MODELS_H_

#include <span>

#include "machine.h"

namespace retprobe::proof {

struct ModelOf {
  const char* name;
  unsigned executions;  // tried by default
  bool (*simulate)(rl::test_params& params);
};

std::span<const ModelOf> PartModels();
std::span<const ModelOf> PoolModels();
std::span<const ModelOf> DetachModels();

}  // namespace retprobe::proof

#endif  // RETPROBE_TEST_PROOF_RELACY_MODELS_H_
