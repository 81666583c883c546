// SPDX-License-Identifier: Apache-2.0
// What others measured on machines with many CPUs, and whether the cost model
// of bench/coherence says so, too. Only then is it asked about our pool.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coherence/machine.h"
#include "coherence/model.h"

namespace retprobe::bench {
namespace {

// Two Xeon 8336C: 64 cores, 128 CPUs.
constexpr char kXeon[] = "pack:2 numa:1 l3:1 core:32 pu:2";
// An Arm server of 256 CPUs.
constexpr char kArm[] = "pack:2 numa:2 l3:1 core:64 pu:1";
// A Kunpeng-920: 96 cores in two packages and four nodes.
constexpr char kKunpeng[] = "pack:2 numa:2 l3:1 core:24 pu:1";

class Lab {
 public:
  Lab(const std::string& topology, const Costs& costs)
      : machine_(*Machine::Create(topology)),
        experiment_{.topology = topology, .costs = costs} {}
  Lab& Outside(Picoseconds nanoseconds) {
    experiment_.outside = nanoseconds * kNanosecond;
    return *this;
  }
  Lab& BreakCaches() {
    experiment_.break_caches = true;
    return *this;
  }
  Prediction Ask(const char* pool, Scenario scenario, uint32_t cpus) {
    experiment_.cpus = cpus;
    const PoolKind* kind = FindPoolKind(pool);
    REQUIRE(kind != nullptr);
    return Predict(*kind, scenario, machine_, experiment_);
  }
  double Mops(const char* pool, Scenario scenario, uint32_t cpus) {
    return Ask(pool, scenario, cpus).mops;
  }

 private:
  Machine machine_;
  Experiment experiment_;
};

// What was measured: the kernel's own freelist and ring, and what the charts
// call locked and lock-free.
constexpr char kFreelist[] = "freelist_refcounted";
constexpr char kRing[] = "kernel_ring_irqs_off";
constexpr char kLocked[] = "percpu_freelist_lock_each";
constexpr char kLockFree[] = "percpu_freelist_lock_free";

TEST_CASE("the same question gets the same answer") {
  for (Scenario scenario : kScenarios) {
    Lab lab("pack:2 core:8 pu:2", kXeonCosts);
    const Prediction once = lab.Ask("freelist", scenario, 32);
    const Prediction twice = lab.Ask("freelist", scenario, 32);
    CHECK(once.operations == twice.operations);
    CHECK(once.hits == twice.hits);
    CHECK(once.nanoseconds == twice.nanoseconds);
    CHECK(once.transfers == twice.transfers);
    CHECK(once.invalidations == twice.invalidations);
    CHECK(once.upgrades == twice.upgrades);
  }
}

// Source of the next cases: "kretprobe scalability / objpool", China Linux
// Kernel developers conference 2024-10-26, read off charts, about 1 %; M/s.

TEST_CASE("empty, 128 CPUs: freelist, lock-free, kernel ring, locked") {
  // 2078, 382, 66, 0
  Lab lab(kXeon, kXeonCosts);
  const double freelist = lab.Mops(kFreelist, Scenario::kEmpty, 128);
  const double lock_free = lab.Mops(kLockFree, Scenario::kEmpty, 128);
  const double ring = lab.Mops(kRing, Scenario::kEmpty, 128);
  const double locked = lab.Mops(kLocked, Scenario::kEmpty, 128);
  CHECK(freelist > 5 * lock_free);  // published: 5.4
  CHECK(lock_free > 2 * ring);      // 5.8
  CHECK(ring > 50 * locked);        // no end
}

TEST_CASE("empty, 256 Arm CPUs: the same order") {
  // 1048, 524, 91, 0
  Lab lab(kArm, kArmCosts);
  const double lock_free = lab.Mops(kLockFree, Scenario::kEmpty, 256);
  const double ring = lab.Mops(kRing, Scenario::kEmpty, 256);
  CHECK(lab.Mops(kFreelist, Scenario::kEmpty, 256) > 2 * lock_free);
  CHECK(lock_free > 2 * ring);
  CHECK(ring > 50 * lab.Mops(kLocked, Scenario::kEmpty, 256));
}

TEST_CASE("ideal, 64 and 128 CPUs: kernel ring, locked, lock-free, freelist") {
  // 870, 626, 606, 1.2; 1432, 1255, 1177, 1
  Lab lab(kXeon, kXeonCosts);
  for (uint32_t cpus : {64, 128}) {
    const double ring = lab.Mops(kRing, Scenario::kIdeal, cpus);
    const double locked = lab.Mops(kLocked, Scenario::kIdeal, cpus);
    const double lock_free = lab.Mops(kLockFree, Scenario::kIdeal, cpus);
    const double freelist = lab.Mops(kFreelist, Scenario::kIdeal, cpus);
    CHECK(ring > locked);
    CHECK(locked > lock_free);
    CHECK(lock_free > 100 * freelist);  // published: 505, 1177
  }
}

TEST_CASE("ideal, 256 Arm CPUs: three alike, the freelist nowhere") {
  // 1028, 1018, 1047, 1
  Lab lab(kArm, kArmCosts);
  std::vector<double> percpu;
  for (const char* pool : {kRing, kLocked, kLockFree}) {
    percpu.push_back(lab.Mops(pool, Scenario::kIdeal, 256));
  }
  const auto [least, most] = std::minmax_element(percpu.begin(), percpu.end());
  CHECK(*most < 1.5 * *least);
  CHECK(*least > 300 * lab.Mops(kFreelist, Scenario::kIdeal, 256));
}

// Source of the next cases: the objpool patch series (v10) and commit message;
// calls of a probed prctl in 10 s. What a call takes besides the pool is set to
// what is published for one thread.

// Million calls a second by threads.
using Curve = std::map<uint32_t, double>;

// Whether the model says the same but for a factor, and whether it falls from
// `from` CPUs on.
void CheckCurve(Lab& lab, const Curve& published, double factor,
                uint32_t from) {
  double before = 0;
  for (const auto& point : published) {
    const auto cpus = point.first;
    const auto mops = point.second;
    const double modelled = lab.Mops(kFreelist, Scenario::kIdeal, cpus);
    CAPTURE(cpus);
    CHECK(modelled > mops / factor);
    CHECK(modelled < mops * factor);
    if (cpus > from) CHECK(modelled < before);
    before = modelled;
  }
}

TEST_CASE("the freelist collapses on two Xeons as published") {
  Lab lab(kXeon, kXeonCosts);
  lab.Outside(414 - 48);
  CheckCurve(lab,
             {{1, 2.415},
              {2, 2.932},
              {4, 1.545},
              {8, 1.249},
              {16, 1.829},
              {32, 1.620},
              {64, 1.165},
              {128, 0.993}},
             2.5, 2);
}

TEST_CASE("the freelist collapses on a Kunpeng-920 as published") {
  Lab lab(kKunpeng, kArmCosts);
  lab.Outside(619 - 102);
  CheckCurve(lab,
             {{1, 1.615},
              {2, 1.106},
              {4, 1.112},
              {8, 0.722},
              {16, 0.566},
              {32, 0.460},
              {64, 0.338},
              {96, 0.295}},
             3.7, 4);
}

TEST_CASE("the kernel's ring scales with the cores as published") {
  // x86: 60.9 times at 64 threads; arm64: 63.4 times
  Lab xeon(kXeon, kXeonCosts);
  CHECK(xeon.Mops(kRing, Scenario::kIdeal, 64) >
        0.9 * 64 * xeon.Mops(kRing, Scenario::kIdeal, 1));
  Lab kunpeng(kKunpeng, kArmCosts);
  CHECK(kunpeng.Mops(kRing, Scenario::kIdeal, 64) >
        0.9 * 64 * kunpeng.Mops(kRing, Scenario::kIdeal, 1));
}

TEST_CASE("without invalidations the freelist would not collapse") {
  Lab lab(kXeon, kXeonCosts);
  lab.BreakCaches();
  CHECK(lab.Mops(kFreelist, Scenario::kIdeal, 32) >
        lab.Mops(kFreelist, Scenario::kIdeal, 1));
}

}  // namespace
}  // namespace retprobe::bench
