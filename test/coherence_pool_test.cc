// SPDX-License-Identifier: Apache-2.0
// What the cost model of bench/coherence says of our pool.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "coherence/machine.h"
#include "coherence/model.h"
#include "coherence/our_pool.h"

namespace retprobe::bench {
namespace {

// Two Xeon 8336C: 64 cores, 128 CPUs.
constexpr char kXeon[] = "pack:2 numa:1 l3:1 core:32 pu:2";
constexpr char kArm[] = "pack:2 numa:2 l3:1 core:64 pu:1";

// Our pool, spoilt: every pop also adds to a count that all CPUs share.
const PoolKind kCounting = {
    "objpool_cas that counts",
    [](const std::string& topology, uint32_t, size_t objects) {
      return MakeOurPool(topology, ObjPool::Backend::kCas, objects, true);
    },
    0, 0, false};

Prediction Ask(const PoolKind& kind, Scenario scenario,
               const std::string& topology, uint32_t cpus,
               const Costs& costs = kXeonCosts) {
  const Machine machine = *Machine::Create(topology);
  return Predict(kind, scenario, machine,
                 {.topology = topology, .costs = costs, .cpus = cpus});
}

// "objpool" is missing where there are no restartable sequences.
std::vector<PoolKind> OurPools() {
  std::vector<PoolKind> kinds;
  for (const char* name : {"objpool", "objpool_cas"}) {
    const PoolKind* kind = FindPoolKind(name);
    if (kind != nullptr) kinds.push_back(*kind);
  }
  return kinds;
}

double Mops(const char* pool, uint32_t cpus) {
  return Ask(*FindPoolKind(pool), Scenario::kEmpty, kXeon, cpus).mops;
}

TEST_CASE("ideal moves no line between CPUs") {
  for (const PoolKind& kind : OurPools()) {
    for (uint32_t cpus : {2, 16, 64, 128}) {
      const Prediction found = Ask(kind, Scenario::kIdeal, kXeon, cpus);
      CAPTURE(kind.name);
      CAPTURE(cpus);
      CHECK(found.hits == found.operations);
      CHECK(found.transfers == 0);
      CHECK(found.invalidations == 0);
      CHECK(found.upgrades == 0);
    }
    const Prediction arm = Ask(kind, Scenario::kIdeal, kArm, 256, kArmCosts);
    CHECK(arm.transfers == 0);
    CHECK(arm.invalidations == 0);
  }
}

TEST_CASE("a failing pop writes nothing that others have") {
  for (const PoolKind& kind : OurPools()) {
    for (uint32_t cpus : {2, 16, 64, 128}) {
      const Prediction found = Ask(kind, Scenario::kEmpty, kXeon, cpus);
      CAPTURE(kind.name);
      CAPTURE(cpus);
      CHECK(found.hits == 0);
      CHECK(found.transfers == 0);
      CHECK(found.invalidations == 0);
      CHECK(found.upgrades == 0);
    }
    const Prediction arm = Ask(kind, Scenario::kEmpty, kArm, 256, kArmCosts);
    CHECK(arm.hits == 0);
    CHECK(arm.transfers == 0);
    CHECK(arm.invalidations == 0);
  }
}

TEST_CASE("a failing pop costs the same with 2, 16, 64 and 256 CPUs") {
  for (const PoolKind& kind : OurPools()) {
    const double two =
        Ask(kind, Scenario::kEmpty, "pack:2 core:1 pu:1", 2).nanoseconds;
    for (const auto& [topology, cpus] : {std::pair("pack:2 core:8 pu:1", 16),
                                         {"pack:2 core:32 pu:1", 64},
                                         {kArm, 256}}) {
      CHECK(Ask(kind, Scenario::kEmpty, topology, cpus).nanoseconds <=
            1.3 * two);
    }
  }
}

TEST_CASE("empty, ours does ten times what rings and locks do") {
  for (const PoolKind& kind : OurPools()) {
    for (uint32_t cpus : {64, 128}) {
      const double ours = Mops(kind.name, cpus);
      CHECK(ours > 10 * Mops("kernel_ring", cpus));
      CHECK(ours > 10 * Mops("kernel_ring_irqs_off", cpus));
      CHECK(ours > 4 * Mops("percpu_freelist", cpus));
      CHECK(ours > 10 * Mops("percpu_freelist_lock_each", cpus));
    }
  }
}

TEST_CASE("empty, ours keeps up with the freelist that kretprobe had") {
  if (FindPoolKind("objpool") == nullptr) return;
  CHECK(Mops("objpool", 128) > 0.95 * Mops("freelist_refcounted", 128));
}

TEST_CASE("a count that all CPUs share would be seen") {
  for (Scenario scenario : {Scenario::kIdeal, Scenario::kEmpty}) {
    const Prediction alone = Ask(kCounting, scenario, kXeon, 1);
    const Prediction found = Ask(kCounting, scenario, kXeon, 64);
    CHECK(found.transfers > 0.15);
    CHECK(found.invalidations > 0.15);
    CHECK(found.nanoseconds > 20 * alone.nanoseconds);
  }
}

}  // namespace
}  // namespace retprobe::bench
