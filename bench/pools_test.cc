// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

#include "pool_check.h"
#include "pool_list.h"
#include "starved.h"

namespace retprobe::bench {
namespace {

using std::chrono::milliseconds;

// A list without synchronisation.
class BrokenPool {
 public:
  BrokenPool(size_t count, size_t size)
      : store_(count, size), objects_(4 * count) {
    for (size_t i = 0; i < count; ++i) Push(store_.At(i));
  }
  void* Pop() {
    const size_t top = top_.load(std::memory_order_relaxed);
    if (top == 0) return nullptr;
    top_.store(top - 1, std::memory_order_relaxed);
    return objects_[top - 1].load(std::memory_order_relaxed);
  }
  void Push(void* object) {
    const size_t top = top_.load(std::memory_order_relaxed);
    if (top == objects_.size()) return;
    objects_[top].store(object, std::memory_order_relaxed);
    top_.store(top + 1, std::memory_order_relaxed);
  }

 private:
  Store store_;
  std::vector<std::atomic<void*>> objects_;
  std::atomic<size_t> top_{0};
};

// Gives one object again and again.
class StutteringPool {
 public:
  StutteringPool(size_t, size_t) {}
  void* Pop() { return this; }
  void Push(void*) {}
};

TEST_CASE("every compared pool gives each object once, then none") {
  VisitPools([](auto pool, const char* name, unsigned traits) {
    using Pool = typename decltype(pool)::type;
    CAPTURE(name);
    CHECK(CheckAlone<Pool>(64, traits & kUnlimited) == "");
  });
}

TEST_CASE("no compared pool gives an object to two threads, or loses one") {
  VisitPools([](auto pool, const char* name, unsigned traits) {
    using Pool = typename decltype(pool)::type;
    if (traits & kUnlimited) return;
    CAPTURE(name);
    CHECK(CheckTogether<Pool>(4, 24, milliseconds(50)) == "");
  });
}

TEST_CASE("the checks catch pools that are broken") {
  CHECK(CheckAlone<StutteringPool>(64, true) == "an object came twice");
  // Threads on one CPU would have to be interrupted at the right moment.
  if (CpuCount() > 1) {
    CHECK(CheckTogether<BrokenPool>(4, 24, milliseconds(10'000)) ==
          "two threads had the same object");
  }
}

TEST_CASE("the times of a hit and of a miss are told apart") {
  std::vector<Round> rounds;
  for (int i = 0; i < 200; ++i) {
    const double hits = 1 + i % 7;
    const double misses = i % 5;
    const double disturbed = i % 50 == 0 ? 1e6 : 0;
    rounds.push_back({hits, misses, 20 + 3 * hits + 11 * misses + disturbed});
  }
  const std::optional<HitAndMiss> fit = FitHitAndMiss(rounds, 20);
  REQUIRE(fit.has_value());
  CHECK(fit->hit_ns == doctest::Approx(3));
  CHECK(fit->miss_ns.value() == doctest::Approx(11));
}

TEST_CASE("rounds that are all alike tell nothing of hit and miss") {
  CHECK(!FitHitAndMiss(std::vector<Round>(100, {4, 4, 100}), 20).has_value());
  const auto hits = FitHitAndMiss(std::vector<Round>(100, {4, 0, 100}), 20);
  REQUIRE(hits.has_value());
  CHECK(hits->hit_ns == doctest::Approx(20));
  CHECK(!hits->miss_ns.has_value());
}

}  // namespace
}  // namespace retprobe::bench
