// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "affinity.h"
#include "arch/arch.h"
#include "base/cpu.h"
#include "objpool/native.h"
#include "objpool/state.h"

namespace retprobe {
namespace {

using arch::RseqResult;

TEST_CASE("a ring push happens on its CPU or not at all") {
  if (!RseqAvailable()) {
    MESSAGE("skipped: no rseq");
    return;
  }
  const test::AffinityGuard affinity;
  test::PinTo(affinity.Nth(0));
  const uint32_t here = affinity.Nth(0);
  uint64_t head = 0;
  uint64_t tail = 0;
  uint32_t entries[4] = {};
  const auto push = [&](uint32_t cpu, uint32_t value) {
    RseqResult result;
    int attempts = 100;  // preempted: again, but not if it is the wrong CPU
    do {
      result = arch::RseqRingPush(cpu, &tail, &head, entries, 3, value,
                                  RseqOffset());
    } while (result == RseqResult::kRetry && --attempts > 0);
    return result;
  };
  CHECK(push(here + 1, 9) == RseqResult::kRetry);
  CHECK(tail == 0);
  for (uint32_t i = 0; i < 4; ++i)
    CHECK(push(here, i + 1) == RseqResult::kDone);
  CHECK(push(here, 9) == RseqResult::kFull);
  CHECK(tail == 4);
  head = 2;
  CHECK(push(here, 5) == RseqResult::kDone);
  CHECK(push(here, 6) == RseqResult::kDone);
  CHECK(push(here, 9) == RseqResult::kFull);
  CHECK(std::vector<uint32_t>(entries, entries + 4) ==
        std::vector<uint32_t>{5, 6, 3, 4});
}

// The magazines of as many CPUs as there are.
class Magazines {
 public:
  explicit Magazines(int cpus)
      : memory_(static_cast<char*>(std::aligned_alloc(
            sizeof(Magazine), (cpus + 1) * sizeof(Magazine)))),
        misses_(std::make_unique<std::atomic<uint64_t>[]>(cpus * 64)) {
    std::fill_n(memory_, (cpus + 1) * sizeof(Magazine), 0);
    header().state = cpus;
    header().cpus = cpus;
    header().capacity = 3;
    header().misses = misses_.get();
  }
  ~Magazines() { std::free(memory_); }
  Magazines(const Magazines&) = delete;
  Magazines& operator=(const Magazines&) = delete;
  void* base() { return memory_ + sizeof(Magazine); }
  uint64_t misses(unsigned cpu) const {
    return misses_[cpu * sizeof(Magazine) / sizeof(uint64_t)];
  }
  MagazineHeader& header() { return static_cast<MagazineHeader*>(base())[-1]; }
  Magazine& of(unsigned cpu) { return static_cast<Magazine*>(base())[cpu]; }
  bool Push(void* object) {
    return arch::MagazinePush(base(), object, RseqOffset());
  }
  // Null: the magazine has none.
  void* Pop() {
    const uintptr_t object = arch::MagazinePop(base(), RseqOffset());
    REQUIRE(object != 0);
    return object == arch::kLookFurther ? nullptr
                                        : reinterpret_cast<void*>(object);
  }

 private:
  char* memory_;
  std::unique_ptr<std::atomic<uint64_t>[]> misses_;
};

TEST_CASE("a magazine is a stack of its capacity, on each CPU") {
  if (!RseqAvailable()) {
    MESSAGE("skipped: no rseq");
    return;
  }
  const test::AffinityGuard affinity;
  Magazines magazines(PossibleCpus());
  int objects[5];
  for (unsigned i = 0; i < affinity.count(); ++i) {
    const unsigned cpu = affinity.Nth(i);
    test::PinTo(cpu);
    CHECK(magazines.Pop() == nullptr);
    for (int k = 0; k < 4; ++k) CHECK(magazines.Push(&objects[k]));
    CHECK(!magazines.Push(&objects[4]));
    CHECK(magazines.of(cpu).count == 3);
    CHECK(magazines.Pop() == &objects[0]);  // the front
    for (int k = 3; k > 0; --k) CHECK(magazines.Pop() == &objects[k]);
    CHECK(magazines.Pop() == nullptr);
  }
}

TEST_CASE("frozen words, a shut gate and an unknown CPU are kept off") {
  if (!RseqAvailable()) {
    MESSAGE("skipped: no rseq");
    return;
  }
  const test::AffinityGuard affinity;
  const unsigned cpu = affinity.Nth(0);
  test::PinTo(cpu);
  Magazines magazines(PossibleCpus());
  int objects[3];
  Magazine& magazine = magazines.of(cpu);
  for (const uint64_t more : {uint64_t{0}, kConfirmed}) {
    const auto frozen = static_cast<int64_t>(kFrozen | more | 1);
    magazine.front = frozen;
    magazine.count = frozen;
    CHECK(magazines.Pop() == nullptr);
    CHECK(!magazines.Push(&objects[0]));
    CHECK(magazine.front == frozen);
    CHECK(magazine.count == frozen);
    magazine.count = 0;
    CHECK(magazines.Push(&objects[0]));
    CHECK(magazine.count == 1);
    CHECK(magazines.Pop() == &objects[0]);
    CHECK(magazine.front == frozen);
  }
  magazine.front = 0;
  REQUIRE(magazines.Push(&objects[0]));
  REQUIRE(magazines.Push(&objects[1]));
  magazines.header().state = cpu | kUnsettled;
  CHECK(magazines.Pop() == nullptr);
  CHECK(!magazines.Push(&objects[2]));
  CHECK(magazine.count == 1);
}

TEST_CASE("a state of nothing is a miss, counted on its CPU") {
  if (!RseqAvailable()) {
    MESSAGE("skipped: no rseq");
    return;
  }
  const test::AffinityGuard affinity;
  const unsigned cpu = affinity.Nth(0);
  test::PinTo(cpu);
  Magazines magazines(PossibleCpus());
  for (const uint64_t state : {uint64_t{0}, kDying, kOneGeneration}) {
    magazines.header().state = state;
    CHECK(arch::MagazinePop(magazines.base(), RseqOffset()) == 0);
  }
  CHECK(magazines.misses(cpu) == 3);
  for (const uint64_t state : {kUnsettled, kCalm, kFresh, kOnePlace}) {
    magazines.header().state = state;
    CHECK(magazines.Pop() == nullptr);
  }
  magazines.header().state = 0;
  magazines.header().cpus = cpu;
  CHECK(magazines.Pop() == nullptr);
  CHECK(magazines.misses(cpu) == 3);
}

}  // namespace
}  // namespace retprobe
