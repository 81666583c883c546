// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "arch/arch.h"
#include "base/cpu.h"
#include "objpool/magazine.h"
#include "pool_stress.h"

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
            sizeof(Magazine), (cpus + 1) * sizeof(Magazine)))) {
    std::fill_n(memory_, (cpus + 1) * sizeof(Magazine), 0);
    header().cpus = cpus;
    header().capacity = 3;
  }
  ~Magazines() { std::free(memory_); }
  Magazines(const Magazines&) = delete;
  Magazines& operator=(const Magazines&) = delete;
  void* base() { return memory_ + sizeof(Magazine); }
  MagazineHeader& header() { return static_cast<MagazineHeader*>(base())[-1]; }
  Magazine& of(unsigned cpu) { return static_cast<Magazine*>(base())[cpu]; }
  bool Push(void* object) {
    return arch::RseqMagazinePush(base(), object, RseqOffset());
  }
  void* Pop() { return arch::RseqMagazinePop(base(), RseqOffset()); }

 private:
  char* memory_;
};

TEST_CASE("a magazine is a stack of its capacity, on each CPU") {
  if (!RseqAvailable()) {
    MESSAGE("skipped: no rseq");
    return;
  }
  const test::AffinityGuard affinity;
  Magazines magazines(PossibleCpus());
  int objects[4];
  for (unsigned i = 0; i < affinity.count(); ++i) {
    const unsigned cpu = affinity.Nth(i);
    test::PinTo(cpu);
    CHECK(magazines.Pop() == nullptr);
    for (int k = 0; k < 3; ++k) CHECK(magazines.Push(&objects[k]));
    CHECK(!magazines.Push(&objects[3]));
    CHECK(magazines.of(cpu).count == 3);
    for (int k = 2; k >= 0; --k) CHECK(magazines.Pop() == &objects[k]);
    CHECK(magazines.Pop() == nullptr);
  }
}

TEST_CASE("a frozen magazine and an unknown CPU are kept off") {
  if (!RseqAvailable()) {
    MESSAGE("skipped: no rseq");
    return;
  }
  const test::AffinityGuard affinity;
  test::PinTo(affinity.Nth(0));
  Magazines magazines(PossibleCpus());
  int object;
  REQUIRE(magazines.Push(&object));
  int64_t& count = magazines.of(affinity.Nth(0)).count;
  for (const uint64_t more : {uint64_t{0}, kMagazineConfirmed}) {
    count = static_cast<int64_t>(kMagazineFrozen | more | 1);
    CHECK(magazines.Pop() == nullptr);
    CHECK(!magazines.Push(&object));
    CHECK(count == static_cast<int64_t>(kMagazineFrozen | more | 1));
  }
  count = 1;
  magazines.header().cpus = affinity.Nth(0);
  CHECK(magazines.Pop() == nullptr);
  CHECK(!magazines.Push(&object));
  magazines.header().cpus = 0;
  CHECK(magazines.Pop() == nullptr);
  CHECK(count == 1);
}

}  // namespace
}  // namespace retprobe
