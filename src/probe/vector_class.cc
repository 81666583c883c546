// SPDX-License-Identifier: Apache-2.0
#include "probe/vector_class.h"

#include "probe/handler_code.h"

namespace retprobe {
namespace {

struct Choice {
  int32_t min_level;  // of retprobe_vector_level
  int32_t max_level;
  uint8_t vectors;  // VectorUse that it keeps
  VectorClass vector_class;
};

constexpr int32_t kSseOnly = 0;
constexpr int32_t kAvx = 1;
constexpr int32_t kAvx512F = 2;
constexpr int32_t kAvx512 = 3;

constexpr uint8_t kSseUse = kSseFew | kSse;

// Cheapest first. On each level the last one keeps all there is: what code
// could change beyond that it cannot run.
constexpr Choice kChoices[] = {
    {kSseOnly, kAvx512, 0, VectorClass::kNone},
    {kSseOnly, kAvx512, kSseFew, VectorClass::kSseFew},
    {kSseOnly, kAvx512, kSseUse, VectorClass::kSse},
    {kAvx512, kAvx512, kSseFew | kFew, VectorClass::kFew},
    {kAvx512, kAvx512, kSseUse | kFew | kLow, VectorClass::kLow},
    {kAvx512, kAvx512, kHigh | kMasks, VectorClass::kHigh},
    {kSseOnly, kSseOnly, kAllVectors, VectorClass::kSse},
    {kAvx, kAvx, kAllVectors, VectorClass::kAvx},
    {kAvx512F, kAvx512F, kAllVectors, VectorClass::kAllF},
};

}  // namespace

VectorClass ClassFor(uint8_t vectors) {
  for (const Choice& choice : kChoices) {
    if (retprobe_vector_level >= choice.min_level &&
        retprobe_vector_level <= choice.max_level &&
        (vectors & ~choice.vectors) == 0) {
      return choice.vector_class;
    }
  }
  return VectorClass::kAll;
}

}  // namespace retprobe
