// SPDX-License-Identifier: Apache-2.0
#include "topology/topology.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "topology/cpu_tree.h"
#include "topology/memory.h"

namespace retprobe {
namespace {

using Cpus = std::vector<int>;

// Every CPU sees every other one once.
void CheckComplete(const Topology& topology) {
  REQUIRE(topology.node.size() == static_cast<size_t>(topology.cpus));
  Cpus expected(topology.cpus);
  std::iota(expected.begin(), expected.end(), 0);
  for (int cpu = 0; cpu < topology.cpus; ++cpu) {
    Cpus all = topology.StealOrder(cpu);
    all.push_back(cpu);
    std::sort(all.begin(), all.end());
    CHECK(all == expected);
  }
}

// One of test/topology.
std::string ReadMachine(const std::string& name) {
  const std::string path = std::string(RETPROBE_MACHINES) + "/" + name + ".xml";
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.is_open(), path);
  return {std::istreambuf_iterator<char>(file), {}};
}

Topology Machine(const std::string& name) {
  absl::StatusOr<Topology> topology = TopologyFromXml(ReadMachine(name));
  REQUIRE_MESSAGE(topology.ok(), std::string(topology.status().message()));
  CheckComplete(*topology);
  return *std::move(topology);
}

Cpus Sorted(Cpus cpus) {
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

// The first victims of `cpu`, without their order.
Cpus Nearest(const Topology& topology, int cpu, int count) {
  const Cpus order = topology.StealOrder(cpu);
  return Sorted({order.begin(), order.begin() + count});
}

// The ids begin .. end - 1 and, where cores have two threads, their siblings'.
Cpus Range(int begin, int end, int siblings = 0) {
  Cpus range;
  for (int cpu = begin; cpu < end; ++cpu) {
    range.push_back(cpu);
    if (siblings != 0) range.push_back(cpu + siblings);
  }
  return Sorted(range);
}

Cpus Without(Cpus cpus, int cpu) {
  cpus.erase(std::remove(cpus.begin(), cpus.end(), cpu), cpus.end());
  return cpus;
}

// Where the thieves `cpus` turn to at step `step`.
std::set<int> VictimsAt(const Topology& topology, const Cpus& cpus, int step) {
  std::set<int> victims;
  for (const int cpu : cpus) victims.insert(topology.StealOrder(cpu)[step]);
  return victims;
}

std::vector<int> NodeOrder(const Topology& topology, int node) {
  const auto order = topology.NodeOrder(node);
  return {order.begin(), order.end()};
}

TEST_CASE("a flat topology starts each row at the next CPU") {
  const Topology topology = FlatTopology(4);
  CheckComplete(topology);
  CHECK(topology.StealOrder(2) == Cpus{3, 0, 1});
  CHECK(FlatTopology(1).StealOrder(0).empty());
  CHECK(topology.nodes == std::vector<int>{0});
  CHECK(topology.CpusOf(0) == Cpus{0, 1, 2, 3});
  CHECK(NodeOrder(topology, 0) == std::vector<int>{0});
}

TEST_CASE("two packages: the sibling, one's own package, the other one") {
  const Topology xeon = Machine("xeon");
  REQUIRE(xeon.cpus == 128);
  CHECK(xeon.nodes == std::vector<int>{0, 1});
  // The firmware counts the packages in turn, then the second threads.
  Cpus even;
  Cpus odd;
  for (int cpu = 0; cpu < 128; ++cpu)
    (cpu % 2 == 0 ? even : odd).push_back(cpu);
  CHECK(xeon.CpusOf(0) == even);
  CHECK(xeon.CpusOf(1) == odd);
  CHECK(xeon.StealOrder(6)[0] == 70);
  CHECK(xeon.StealOrder(127)[0] == 63);
  CHECK(Nearest(xeon, 6, 63) == Without(even, 6));
  CHECK(Nearest(xeon, 127, 63) == Without(odd, 127));
  // 64 thieves who come from the other package spread over all 64 CPUs; those
  // who look for their own package's other cores, too.
  CHECK(VictimsAt(xeon, even, 63) == std::set<int>(odd.begin(), odd.end()));
  CHECK(VictimsAt(xeon, even, 1).size() == 64);
}

TEST_CASE("four nodes in a package: an L3, the node, the package, abroad") {
  const Topology epyc = Machine("epyc");
  REQUIRE(epyc.cpus == 128);
  CHECK(epyc.nodes == Range(0, 8));
  // CPU 21's core is 21 of 0-63, its L3 around cores 20-23, its node has cores
  // 16-23, its package 0-31; the cores' second threads are 64 higher.
  CHECK(epyc.node[21] == 2);
  CHECK(epyc.StealOrder(21)[0] == 85);
  CHECK(Nearest(epyc, 21, 7) == Without(Range(20, 24, 64), 21));
  CHECK(Nearest(epyc, 21, 15) == Without(Range(16, 24, 64), 21));
  CHECK(Nearest(epyc, 21, 63) == Without(Range(0, 32, 64), 21));
  CHECK(epyc.CpusOf(2) == Range(16, 24, 64));
  // Its package's nodes are at 12, the others at 32; then the smaller id.
  CHECK(NodeOrder(epyc, 5) == std::vector<int>{5, 4, 6, 7, 0, 1, 2, 3});
}

TEST_CASE("within the other package the nearer node comes first") {
  const Topology kunpeng = Machine("kunpeng");
  REQUIRE(kunpeng.cpus == 96);
  // CPU 30: the cluster of four, the die (node 1), the package's other die
  // (node 0), then node 2 (at 22) and node 3 (at 24).
  CHECK(Nearest(kunpeng, 30, 3) == Cpus{28, 29, 31});
  CHECK(Nearest(kunpeng, 30, 23) == Without(Range(24, 48), 30));
  CHECK(Nearest(kunpeng, 30, 47) == Without(Range(0, 48), 30));
  CHECK(Nearest(kunpeng, 30, 71) == Without(Range(0, 72), 30));
  // CPU 95, node 3: node 0 is at 22, node 1 at 24.
  Cpus without_node_1 = Range(0, 24);
  for (const int cpu : Range(48, 95)) without_node_1.push_back(cpu);
  CHECK(Nearest(kunpeng, 95, 71) == without_node_1);
  CHECK(NodeOrder(kunpeng, 0) == std::vector<int>{0, 1, 2, 3});
  CHECK(NodeOrder(kunpeng, 3) == std::vector<int>{3, 2, 0, 1});
}

TEST_CASE("among equally near CPUs those of one's own kind come first") {
  // 0-3 are little, 4-7 big; all share one L3.
  const Topology rk3588 = Machine("rk3588");
  REQUIRE(rk3588.cpus == 8);
  CHECK(Nearest(rk3588, 1, 3) == Cpus{0, 2, 3});
  CHECK(Nearest(rk3588, 6, 3) == Cpus{4, 5, 7});
  CHECK(VictimsAt(rk3588, Cpus{4, 5, 6, 7}, 3) == std::set<int>{0, 1, 2, 3});
}

TEST_CASE("ids of CPUs and nodes may have holes") {
  // Four threads to a core, two in use: 0, 1, 4, 5, ... Nodes 254 and 255 are
  // the memory of graphics processors.
  const Topology power9 = Machine("power9");
  REQUIRE(power9.cpus == 30);
  CHECK(power9.nodes == std::vector<int>{0, 8, 254, 255});
  CHECK(power9.NodeList() == "0, 8, 254-255");
  CHECK(power9.HasNode(8));
  CHECK(!power9.HasNode(1));
  CHECK(power9.node[16] == 8);
  CHECK(power9.node[2] == -1);
  CHECK(power9.CpusOf(254).empty());
  // 254 and 255 are at 80, but 255 is in node 8's package.
  CHECK(NodeOrder(power9, 8) == std::vector<int>{8, 0, 255, 254});
  // The sibling, the package, the other package, what is not there.
  CHECK(power9.StealOrder(17)[0] == 16);
  CHECK(Nearest(power9, 17, 7) == Cpus{16, 20, 21, 24, 25, 28, 29});
  CHECK(Nearest(power9, 17, 15) ==
        Cpus{0, 1, 4, 5, 8, 9, 12, 13, 16, 20, 21, 24, 25, 28, 29});
}

TEST_CASE("a CPU that comes later knows all the others, and is known last") {
  // CPUs 4-7 are offline: possible, but without a place in the machine.
  std::string xml = ReadMachine("ring");
  const std::string possible = "complete_cpuset=\"0x0000000f\"";
  const size_t at = xml.find(possible);
  REQUIRE(at != std::string::npos);
  xml.replace(at, possible.size(), "complete_cpuset=\"0x000000ff\"");
  const auto topology = TopologyFromXml(xml);
  REQUIRE(topology.ok());
  REQUIRE(topology->cpus == 8);
  CheckComplete(*topology);
  CHECK(topology->node[5] == -1);
  CHECK(Nearest(*topology, 0, 3) == Cpus{1, 2, 3});
  CHECK(Nearest(*topology, 5, 4) == Cpus{0, 1, 2, 3});
}

TEST_CASE("the nearer of two packages comes first") {
  // Four in a ring: from the first the others are at 16, 21 and 12.
  const Topology ring = Machine("ring");
  CHECK(ring.StealOrder(0) == Cpus{3, 1, 2});
  CHECK(NodeOrder(ring, 0) == std::vector<int>{0, 3, 1, 2});
}

TEST_CASE("kinds that take turns around one cache are told apart") {
  Topology topology;
  topology.cpus = 6;
  std::vector<CpuLeaf> leaves;
  for (int cpu = 0; cpu < 6; ++cpu) leaves.push_back({cpu, 0, cpu % 2, 0});
  topology.node.assign(6, 0);
  FillInStealOrder(leaves, NodeDistances(), topology);
  CheckComplete(topology);
  CHECK(Nearest(topology, 2, 2) == Cpus{0, 4});
  CHECK(Nearest(topology, 3, 2) == Cpus{1, 5});
}

TEST_CASE("steal orders stay small on the largest machines") {
  const auto bytes = [](const Topology& topology) {
    return topology.cpu_at.size() * sizeof(topology.cpu_at[0]) +
           topology.place_of.size() * sizeof(topology.place_of[0]) +
           topology.first_ring.size() * sizeof(topology.first_ring[0]) +
           topology.rings.size() * sizeof(topology.rings[0]);
  };
  const auto big = SyntheticTopology("pack:2 numa:4 l3:4 core:4 pu:2");
  REQUIRE(big.ok());
  CHECK(big->cpus == 256);
  CHECK(bytes(*big) < 130 * 1024);
  CHECK(bytes(FlatTopology(kMaxCpus)) < 1024 * 1024);
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

TEST_CASE("an affinity mask hides no CPU") {
  const auto before = LoadTopology();
  REQUIRE(before.ok());
  cpu_set_t all;
  REQUIRE(sched_getaffinity(0, sizeof(all), &all) == 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  const auto within = LoadTopology();
  CHECK(sched_setaffinity(0, sizeof(all), &all) == 0);
  REQUIRE(within.ok());
  CHECK(within->cpu_at == before->cpu_at);
  CHECK(within->node == before->node);
}

// What needs several nodes is in placement_test.cc.
TEST_CASE("memory is bound, and found where it is") {
  constexpr size_t kBytes = 1 << 14;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  const auto topology = LoadTopology();
  REQUIRE(topology.ok());
  const int node = topology->nodes.front();
  CHECK(InterleaveMemory(memory, kBytes).ok());
  CHECK(BindMemory(memory, kBytes, node).ok());
  CHECK(AllowHugePages(memory, kBytes, false).ok());
  CHECK(absl::IsNotFound(NodeOfPage(memory).status()));
  *static_cast<volatile char*>(memory) = 1;
  const auto found = NodeOfPage(memory);
  REQUIRE_MESSAGE(found.ok(), std::string(found.status().message()));
  CHECK(*found == node);
  munmap(memory, kBytes);
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
