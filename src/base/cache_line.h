// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BASE_CACHE_LINE_H_
#define RETPROBE_BASE_CACHE_LINE_H_

#include <cstddef>

namespace retprobe {

// What a writer on one CPU takes away from readers on others, in bytes: two
// 64-byte lines, because the prefetcher fetches them in pairs.
inline constexpr size_t kCacheLine = 128;

}  // namespace retprobe

#endif  // RETPROBE_BASE_CACHE_LINE_H_
