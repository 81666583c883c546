// SPDX-License-Identifier: Apache-2.0
// The cost model of bench/coherence: its caches, by hand; that it says the same
// thing twice; that it reproduces what others measured; then what it says of
// our pool.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coherence/machine.h"
#include "coherence/model.h"
#include "coherence/sim_policy.h"
#include "coherence/simulator.h"

namespace retprobe::bench {
namespace {

constexpr AccessKind kLoad = AccessKind::kLoad;
constexpr AccessKind kStore = AccessKind::kStore;
constexpr AccessKind kUpdate = AccessKind::kUpdate;

constexpr LineState kI = LineState::kInvalid;
constexpr LineState kS = LineState::kShared;
constexpr LineState kE = LineState::kExclusive;
constexpr LineState kM = LineState::kModified;

// Round figures, all different: 10 within a core to 50 across packages.
constexpr Costs kRoundCosts = {
    .name = "round",
    .transfer = {0, 10, 20, 30, 40, 50},
    .load = 1,
    .store = 2,
    .update = 3,
    .cold = 5,
    .barrier = 1000,
    .interrupt = 100,
};

Machine MachineOf(const std::string& description) {
  auto machine = Machine::Create(description);
  REQUIRE(machine.ok());
  return *machine;
}

// Two packages of two cores of two CPUs, and one line.
class OneLine {
 public:
  // Returns what the access took.
  Picoseconds Do(uint32_t cpu, AccessKind kind) {
    const Picoseconds begin = simulator.end();
    simulator.Run({cpu}, [&](uint32_t) { simulator.Access(&line, kind); });
    return simulator.end() - begin;
  }
  // Of CPUs 0, 1, 2 and 4.
  std::array<LineState, 4> States() {
    Directory& directory = simulator.directory();
    const Directory::Line& found = directory.At(&line);
    return {directory.StateOf(found, 0), directory.StateOf(found, 1),
            directory.StateOf(found, 2), directory.StateOf(found, 4)};
  }
  const Traffic& traffic() { return simulator.directory().traffic; }

  Machine machine = MachineOf("pack:2 core:2 pu:2");
  Simulator simulator{machine, kRoundCosts};
  alignas(64) uint64_t line = 0;
};

using States = std::array<LineState, 4>;

TEST_CASE("distances are those of the topology") {
  const Machine machine = MachineOf("pack:2 numa:2 l3:2 core:2 pu:2");
  CHECK(machine.cpus() == 32);
  CHECK(machine.Between(3, 3) == Distance::kSelf);
  CHECK(machine.Between(0, 1) == Distance::kCore);
  CHECK(machine.Between(0, 3) == Distance::kCache);
  CHECK(machine.Between(0, 4) == Distance::kPackage);
  CHECK(machine.Between(7, 8) == Distance::kNode);
  CHECK(machine.Between(15, 16) == Distance::kMachine);
  CHECK(MachineOf("pack:1 core:2 pu:2").fill_order() ==
        std::vector<uint32_t>{0, 2, 1, 3});
  CHECK_FALSE(Machine::Create("nonsense").ok());
  CHECK_FALSE(Machine::Create("pu:1000").ok());
  CHECK_FALSE(Machine::Create("<no/>").ok());
}

TEST_CASE("a line that nobody has becomes exclusive, or modified") {
  OneLine load;
  CHECK(load.Do(0, kLoad) == 5 + 1);
  CHECK(load.States() == States{kE, kI, kI, kI});
  CHECK(load.traffic().cold == 1);
  OneLine store;
  CHECK(store.Do(0, kStore) == 5 + 2);
  CHECK(store.States() == States{kM, kI, kI, kI});
  CHECK(store.traffic().transfers == 0);
}

TEST_CASE("one's own line is changed in silence") {
  OneLine caches;
  caches.Do(0, kLoad);
  CHECK(caches.Do(0, kLoad) == 1);
  CHECK(caches.Do(0, kUpdate) == 3);
  CHECK(caches.States() == States{kM, kI, kI, kI});
  CHECK(caches.Do(0, kStore) == 2);
  CHECK(caches.Do(0, kLoad) == 1);
  CHECK(caches.traffic().transfers == 0);
  CHECK(caches.traffic().invalidations == 0);
  CHECK(caches.traffic().upgrades == 0);
}

TEST_CASE("a load shares what another has exclusively or modified") {
  for (AccessKind first : {kLoad, kStore}) {
    OneLine caches;
    caches.Do(0, first);
    CHECK(caches.Do(1, kLoad) == 10 + 1);
    CHECK(caches.States() == States{kS, kS, kI, kI});
    CHECK(caches.traffic().transfers == 1);
    CHECK(caches.traffic().invalidations == 0);
    CHECK(caches.Do(0, kLoad) == 1);
  }
}

TEST_CASE("a shared line comes from the nearest that has it") {
  OneLine caches;
  caches.Do(4, kLoad);
  CHECK(caches.Do(0, kLoad) == 50 + 1);
  CHECK(caches.Do(2, kLoad) == 30 + 1);
  CHECK(caches.Do(1, kLoad) == 10 + 1);
  CHECK(caches.States() == States{kS, kS, kS, kS});
  CHECK(caches.traffic().transfers == 3);
}

TEST_CASE("changing a shared line takes it from all, to the farthest") {
  OneLine caches;
  for (uint32_t cpu : {0, 1, 2, 4}) caches.Do(cpu, kLoad);
  CHECK(caches.Do(1, kStore) == 50 + 2);
  CHECK(caches.States() == States{kI, kM, kI, kI});
  CHECK(caches.traffic().upgrades == 1);
  CHECK(caches.traffic().invalidations == 3);
  CHECK(caches.Do(1, kUpdate) == 3);
}

TEST_CASE("a change takes the line from whoever has it") {
  OneLine modified;
  modified.Do(0, kUpdate);
  CHECK(modified.Do(2, kUpdate) == 30 + 3);
  CHECK(modified.States() == States{kI, kI, kM, kI});
  CHECK(modified.traffic().transfers == 1);
  CHECK(modified.traffic().invalidations == 1);
  OneLine exclusive;
  exclusive.Do(4, kLoad);
  CHECK(exclusive.Do(0, kStore) == 50 + 2);
  CHECK(exclusive.States() == States{kM, kI, kI, kI});
  OneLine shared;
  shared.Do(0, kLoad);
  shared.Do(1, kLoad);
  CHECK(shared.Do(2, kUpdate) == 30 + 3);
  CHECK(shared.States() == States{kI, kI, kM, kI});
  CHECK(shared.traffic().invalidations == 2);
  CHECK(shared.traffic().upgrades == 0);
}

TEST_CASE("who wants a line that is under way waits for it") {
  OneLine caches;
  caches.Do(0, kStore);
  const Picoseconds begin = caches.simulator.end();
  std::map<uint32_t, Picoseconds> took;
  caches.simulator.Run({2, 4}, [&](uint32_t cpu) {
    caches.simulator.Access(&caches.line, kUpdate);
    took[cpu] = caches.simulator.now() - begin;
  });
  CHECK(took[2] == 30 + 3);
  CHECK(took[4] == 30 + 50 + 3);
}

TEST_CASE("who has a line keeps it until the next one's request is there") {
  OneLine caches;
  caches.Do(0, kStore);
  const Picoseconds begin = caches.simulator.end();
  std::vector<Picoseconds> ends;
  caches.simulator.Run({0, 4}, [&](uint32_t cpu) {
    if (cpu == 4) return caches.simulator.Access(&caches.line, kUpdate);
    caches.simulator.Work(20);
    caches.simulator.Access(&caches.line, kStore);
    ends.push_back(caches.simulator.now() - begin);
    caches.simulator.Work(8);
    caches.simulator.Access(&caches.line, kStore);
    ends.push_back(caches.simulator.now() - begin);
  });
  CHECK(ends == std::vector<Picoseconds>{22, 50 + 50 + 2});
}

TEST_CASE("CPUs that count together count right") {
  const Machine machine = MachineOf("pack:2 core:4 pu:2");
  Simulator simulator(machine, kXeonCosts);
  SimAtomic<uint64_t> added(0);
  SimAtomic<uint64_t> swapped(0);
  simulator.Run(machine.fill_order(), [&](uint32_t) {
    for (int i = 0; i < 100; ++i) {
      added.fetch_add(1, std::memory_order_relaxed);
      uint64_t seen = swapped.load(std::memory_order_relaxed);
      while (!swapped.compare_exchange_weak(seen, seen + 1,
                                            std::memory_order_relaxed,
                                            std::memory_order_relaxed)) {
      }
    }
  });
  CHECK(added.load(std::memory_order_relaxed) == 1600);
  CHECK(swapped.load(std::memory_order_relaxed) == 1600);
}

TEST_CASE("a barrier interrupts the others' sections and costs them time") {
  OneLine caches;
  std::map<uint32_t, bool> interrupted;
  const Picoseconds begin = caches.simulator.end();
  Picoseconds other = 0;
  caches.simulator.Run({0, 1}, [&](uint32_t cpu) {
    caches.simulator.BeginSection();
    caches.simulator.Work(cpu == 0 ? 0 : 10);
    caches.simulator.Access(&caches.line, kLoad);
    if (cpu == 0) caches.simulator.Barrier();
    if (cpu == 1) caches.simulator.Access(&caches.line, kLoad);
    interrupted[cpu] = caches.simulator.Interrupted();
    if (cpu == 1) other = caches.simulator.now() - begin;
  });
  CHECK_FALSE(interrupted[0]);
  CHECK(interrupted[1]);
  CHECK(other >= 100);
}

}  // namespace
}  // namespace retprobe::bench
