// SPDX-License-Identifier: Apache-2.0
#include "agent/histogram.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace retprobe::histogram {
namespace {

TEST_CASE("Buckets follow each other without gaps, up to the last") {
  uint64_t next = 0;
  for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
    REQUIRE(LowestOf(bucket) == next);
    REQUIRE(BucketOf(next) == bucket);
    next += WidthOf(bucket);
    REQUIRE(BucketOf(next - 1) == bucket);
  }
  CHECK(next == uint64_t{1} << (kTopBit + 1));
  CHECK(BucketOf(next) == kBuckets - 1);
  CHECK(BucketOf(UINT64_MAX) == kBuckets - 1);
}

TEST_CASE("A bucket's middle is within 1 in 64 of every value in it") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t value = random() >> (20 + random() % 44);
    const uint64_t middle = MiddleOf(BucketOf(value));
    const uint64_t error = middle > value ? middle - value : value - middle;
    REQUIRE(error <= value / 64 + 1);
    if (value < 64) REQUIRE(error == 0);
  }
}

TEST_CASE("Percentiles agree with sorted samples to 1 in 64") {
  std::mt19937_64 random(2);
  std::lognormal_distribution<double> durations(6.0, 2.5);
  for (size_t count : {1u, 2u, 3u, 10u, 99u, 100u, 101u, 5000u}) {
    std::vector<uint64_t> samples(count);
    std::vector<uint64_t> buckets(kBuckets);
    for (uint64_t& sample : samples) {
      sample = static_cast<uint64_t>(durations(random));
      ++buckets[BucketOf(sample)];
    }
    std::sort(samples.begin(), samples.end());
    for (uint32_t percent : {0u, 1u, 50u, 90u, 99u, 100u}) {
      const size_t rank = std::max<size_t>(1, (count * percent + 99) / 100) - 1;
      const uint64_t exact = samples[rank];
      const uint64_t found = Percentile(buckets.data(), count, percent);
      CAPTURE(count);
      CAPTURE(percent);
      CHECK(std::llabs(static_cast<long long>(found - exact)) <=
            static_cast<long long>(exact / 64 + 1));
    }
  }
  CHECK(Percentile(std::vector<uint64_t>(kBuckets).data(), 0, 50) == 0);
}

}  // namespace
}  // namespace retprobe::histogram
