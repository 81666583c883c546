// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_HISTOGRAM_H_
#define RETPROBE_AGENT_HISTOGRAM_H_

#include <bit>
#include <cstdint>

// Log-linear buckets in the manner of HdrHistogram: exact below 64, then 32
// buckets to each power of two, so that a value is known to 1 in 32. Integers
// only; used by handlers.
namespace retprobe::histogram {

inline constexpr int kSubBucketBits = 5;
inline constexpr int kTopBit =
    43;  // values from 2^44 ns (4.9 h) share the last

constexpr uint32_t BucketOf(uint64_t value) {
  if (value >> (kTopBit + 1) != 0) value = (uint64_t{1} << (kTopBit + 1)) - 1;
  if (value < (2u << kSubBucketBits)) return static_cast<uint32_t>(value);
  const int shift = std::bit_width(value) - 1 - kSubBucketBits;
  return (static_cast<uint32_t>(shift) << kSubBucketBits) +
         static_cast<uint32_t>(value >> shift);
}

inline constexpr uint32_t kBuckets = BucketOf(UINT64_MAX) + 1;
static_assert(kBuckets == 1280);

// The values of a bucket: lowest, and how many.
constexpr uint64_t LowestOf(uint32_t bucket) {
  const uint32_t group = bucket >> kSubBucketBits;
  if (group < 2) return bucket;
  const int shift = static_cast<int>(group) - 1;
  const uint64_t within = bucket & ((1u << kSubBucketBits) - 1);
  return (within + (1u << kSubBucketBits)) << shift;
}
constexpr uint64_t WidthOf(uint32_t bucket) {
  const uint32_t group = bucket >> kSubBucketBits;
  return group < 2 ? 1 : uint64_t{1} << (group - 1);
}

// The value that stands for a bucket: at most 1 in 64 from any in it.
constexpr uint64_t MiddleOf(uint32_t bucket) {
  return LowestOf(bucket) + WidthOf(bucket) / 2;
}

// The value at `percent` of the values counted in counts[kBuckets], of which
// there are `total`: the smallest bucket such that so many are at or below it.
constexpr uint64_t Percentile(const uint64_t* counts, uint64_t total,
                              uint32_t percent) {
  if (total == 0) return 0;
  uint64_t rank = total / 100 * percent + (total % 100 * percent + 99) / 100;
  if (rank == 0) rank = 1;
  uint64_t seen = 0;
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += counts[bucket];
    if (seen >= rank) return MiddleOf(bucket);
  }
  return MiddleOf(kBuckets - 1);
}

}  // namespace retprobe::histogram

#endif  // RETPROBE_AGENT_HISTOGRAM_H_
