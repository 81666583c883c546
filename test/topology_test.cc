// SPDX-License-Identifier: Apache-2.0
#include "topology/topology.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "base/cpu.h"

namespace retprobe {
namespace {

void CheckComplete(const Topology& topology) {
  REQUIRE(topology.node.size() == static_cast<size_t>(topology.cpus));
  for (int cpu = 0; cpu < topology.cpus; ++cpu) {
    const auto order = topology.StealOrder(cpu);
    std::vector<int> all(order.begin(), order.end());
    all.push_back(cpu);
    std::sort(all.begin(), all.end());
    std::vector<int> expected(topology.cpus);
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(all == expected);
  }
}

std::set<int> Slice(const Topology& topology, int cpu, int begin, int end) {
  const auto order = topology.StealOrder(cpu);
  return {order.begin() + begin, order.begin() + end};
}

std::set<int> Range(int begin, int end, int without) {
  std::set<int> range;
  for (int cpu = begin; cpu < end; ++cpu) {
    if (cpu != without) range.insert(cpu);
  }
  return range;
}

TEST_CASE("a flat topology starts each row at the next CPU") {
  const Topology topology = FlatTopology(4);
  CheckComplete(topology);
  CHECK(topology.StealOrder(2)[0] == 3);
  CHECK(topology.StealOrder(2)[1] == 0);
  CHECK(topology.StealOrder(2)[2] == 1);
  CHECK(FlatTopology(1).StealOrder(0).empty());
}

TEST_CASE("thieves go to the sibling, the cache, the package, then abroad") {
  const auto topology = SyntheticTopology("pack:2 numa:1 l3:2 core:8 pu:2");
  REQUIRE(topology.ok());
  REQUIRE(topology->cpus == 64);
  CheckComplete(*topology);
  for (const int cpu : {0, 1, 15, 16, 37, 63}) {
    CAPTURE(cpu);
    const int sibling = cpu ^ 1;
    const int cache = cpu / 16 * 16;
    const int package = cpu / 32 * 32;
    CHECK(topology->StealOrder(cpu)[0] == sibling);
    std::set<int> shared_cache = Range(cache, cache + 16, cpu);
    CHECK(Slice(*topology, cpu, 0, 15) == shared_cache);
    CHECK(Slice(*topology, cpu, 0, 31) == Range(package, package + 32, cpu));
    CHECK(topology->node[cpu] == cpu / 32);
  }
  // Not all thieves of a package begin with the same CPU of the other one.
  CHECK(topology->StealOrder(0)[31] != topology->StealOrder(5)[31]);
}

TEST_CASE("several NUMA nodes in a package are told apart") {
  const auto topology = SyntheticTopology("pack:2 numa:4 l3:1 core:6 pu:2");
  REQUIRE(topology.ok());
  REQUIRE(topology->cpus == 96);
  CheckComplete(*topology);
  CHECK(topology->node[0] == 0);
  CHECK(topology->node[95] == 7);
  CHECK(Slice(*topology, 50, 0, 11) == Range(48, 60, 50));
  CHECK(Slice(*topology, 50, 0, 47) == Range(48, 96, 50));
}

// Four nodes in a ring, as lstopo wrote it: equally near by the tree, not by
// the distances.
constexpr char kRing[] = R"(<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
  <object type="Machine" os_index="0" cpuset="0x0000000f" complete_cpuset="0x0000000f" allowed_cpuset="0x0000000f" nodeset="0x0000000f" complete_nodeset="0x0000000f" allowed_nodeset="0x0000000f" gp_index="1">
    <info name="Backend" value="Synthetic"/>
    <info name="SyntheticDescription" value="pack:4 numa:1 pu:1"/>
    <info name="hwlocVersion" value="2.9.0"/>
    <info name="ProcessName" value="x"/>
    <object type="Package" os_index="0" cpuset="0x00000001" complete_cpuset="0x00000001" nodeset="0x00000001" complete_nodeset="0x00000001" gp_index="5">
      <object type="NUMANode" os_index="0" cpuset="0x00000001" complete_cpuset="0x00000001" nodeset="0x00000001" complete_nodeset="0x00000001" gp_index="3" local_memory="1073741824">
        <page_type size="4096" count="262144"/>
      </object>
      <object type="PU" os_index="0" cpuset="0x00000001" complete_cpuset="0x00000001" nodeset="0x00000001" complete_nodeset="0x00000001" gp_index="2"/>
    </object>
    <object type="Package" os_index="1" cpuset="0x00000002" complete_cpuset="0x00000002" nodeset="0x00000002" complete_nodeset="0x00000002" gp_index="9">
      <object type="NUMANode" os_index="1" cpuset="0x00000002" complete_cpuset="0x00000002" nodeset="0x00000002" complete_nodeset="0x00000002" gp_index="7" local_memory="1073741824">
        <page_type size="4096" count="262144"/>
      </object>
      <object type="PU" os_index="1" cpuset="0x00000002" complete_cpuset="0x00000002" nodeset="0x00000002" complete_nodeset="0x00000002" gp_index="6"/>
    </object>
    <object type="Package" os_index="2" cpuset="0x00000004" complete_cpuset="0x00000004" nodeset="0x00000004" complete_nodeset="0x00000004" gp_index="13">
      <object type="NUMANode" os_index="2" cpuset="0x00000004" complete_cpuset="0x00000004" nodeset="0x00000004" complete_nodeset="0x00000004" gp_index="11" local_memory="1073741824">
        <page_type size="4096" count="262144"/>
      </object>
      <object type="PU" os_index="2" cpuset="0x00000004" complete_cpuset="0x00000004" nodeset="0x00000004" complete_nodeset="0x00000004" gp_index="10"/>
    </object>
    <object type="Package" os_index="3" cpuset="0x00000008" complete_cpuset="0x00000008" nodeset="0x00000008" complete_nodeset="0x00000008" gp_index="17">
      <object type="NUMANode" os_index="3" cpuset="0x00000008" complete_cpuset="0x00000008" nodeset="0x00000008" complete_nodeset="0x00000008" gp_index="15" local_memory="1073741824">
        <page_type size="4096" count="262144"/>
      </object>
      <object type="PU" os_index="3" cpuset="0x00000008" complete_cpuset="0x00000008" nodeset="0x00000008" complete_nodeset="0x00000008" gp_index="14"/>
    </object>
  </object>
  <distances2 type="NUMANode" nbobjs="4" kind="6" name="NUMALatency" indexing="os">
    <indexes length="8">0 1 2 3 </indexes>
    <u64values length="30">10 16 21 12 16 10 12 21 21 12 </u64values>
    <u64values length="18">10 16 12 21 16 10 </u64values>
  </distances2>
  <support name="discovery.pu"/>
  <support name="discovery.numa"/>
  <support name="discovery.numa_memory"/>
  <support name="custom.exported_support"/>
</topology>
)";

TEST_CASE("the nearer of two NUMA nodes comes first") {
  const auto topology = TopologyFromXml(kRing);
  REQUIRE_MESSAGE(topology.ok(), std::string(topology.status().message()));
  REQUIRE(topology->cpus == 4);
  CheckComplete(*topology);
  const auto order = topology->StealOrder(0);
  CHECK(std::vector<int>(order.begin(), order.end()) ==
        std::vector<int>{3, 1, 2});
}

TEST_CASE("a machine with one CPU has nobody to steal from") {
  const auto topology = SyntheticTopology("pu:1");
  REQUIRE(topology.ok());
  CHECK(topology->cpus == 1);
  CHECK(topology->StealOrder(0).empty());
}

TEST_CASE("what is not a topology is refused") {
  CHECK(absl::IsInvalidArgument(SyntheticTopology("pack:x").status()));
  CHECK(!TopologyFromXml("<topology").ok());
}

TEST_CASE("the system's topology covers every possible CPU") {
  const auto loaded = LoadTopology();
  REQUIRE(loaded.ok());
  CheckComplete(*loaded);
  CHECK(loaded->cpus >= PossibleCpus());

  const Topology& detected = SystemTopology();
  CHECK(detected.cpu_at == loaded->cpu_at);
  SetSystemTopology(FlatTopology(PossibleCpus() + 3));
  CHECK(SystemTopology().cpus == PossibleCpus() + 3);
  CHECK(detected.cpus == loaded->cpus);
}

}  // namespace
}  // namespace retprobe
