// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "base/cpu.h"
#include "objpool/objpool_hot.h"
#include "pool_backends.h"
#include "pool_stress.h"
#include "topology/topology.h"

// Where objects lie and wait: nodes, depots, CPUs that are not known.

namespace retprobe::test {
namespace {

TEST_CASE("what users write into objects is never taken for a magazine") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    for (const int cpus : {1, 2, 16, 64}) {
      CAPTURE(cpus);
      const Topology topology = FlatTopology(cpus);
      FakeCpu cpu(0);
      const auto pool = MakePool({.object_size = 512,
                                  .object_count = 100,
                                  .magazine_capacity = 0,
                                  .backend = backend,
                                  .topology = &topology});
      for (int round = 0; round < 3; ++round) {
        std::vector<void*> all;
        for (int at = 0; void* object = pool->Pop(); ++at) {
          cpu.SwitchTo(at % cpus);
          std::memset(object, 0xff, 512);
          all.push_back(object);
        }
        CHECK(all.size() == 100);
        for (void* object : all) {
          const auto* bytes = static_cast<const unsigned char*>(object);
          CHECK(std::all_of(bytes, bytes + 512,
                            [](unsigned char byte) { return byte == 0xff; }));
        }
        for (size_t i = 0; i < all.size(); ++i) {
          cpu.SwitchTo(static_cast<int>(i) % cpus);
          pool->Push(all[i]);
        }
      }
    }
  }
}

TEST_CASE("draining a pool without magazines leaves its slots alone") {
  const AffinityGuard affinity;
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool = MakePool({.object_size = 16,
                                .object_count = 50,
                                .magazine_capacity = 0,
                                .backend = backend});
    PinTo(affinity.Nth(0));
    const std::vector<void*> all = PopAll(*pool);
    for (int round = 0; round < 3; ++round) {
      for (void* object : all) pool->Push(object);
      for (int cpu = 0; cpu < PossibleCpus() + 2; ++cpu) pool->Drain(cpu);
      const std::vector<void*> again = PopAll(*pool);
      CHECK(std::set<void*>(again.begin(), again.end()) ==
            std::set<void*>(all.begin(), all.end()));
    }
  }
}

// How many of `objects` lie in each node's share: an equal part of the indices,
// as the CPUs of the made-up machines are.
std::vector<int> ByNode(const ObjPool& pool, const std::vector<void*>& objects,
                        size_t nodes) {
  std::vector<int> counts(nodes);
  for (void* object : objects) {
    ++counts[pool.IndexOf(object) * nodes / pool.capacity()];
  }
  return counts;
}

TEST_CASE("each node's CPUs take of the node's share first") {
  for (const int nodes : {2, 8}) {
    CAPTURE(nodes);
    auto topology = SyntheticTopology("pack:" + std::to_string(nodes) +
                                      " numa:1 core:4 pu:1");
    REQUIRE(topology.ok());
    for (const auto backend :
         {ObjPool::Backend::kCas, ObjPool::Backend::kPercpuFreelist}) {
      CAPTURE(Name(backend));
      FakeCpu cpu(0);
      const size_t share = 100;
      const auto pool = MakePool({.object_size = 16,
                                  .object_count = share * nodes,
                                  .backend = backend,
                                  .topology = &*topology});
      std::vector<std::vector<void*>> of_node(nodes);
      for (int node = nodes - 1; node >= 0; --node) {
        for (size_t i = 0; i < share; ++i) {
          cpu.SwitchTo(node * 4 + static_cast<int>(i % 4));
          of_node[node].push_back(pool->Pop());
        }
        std::vector<int> expected(nodes);
        expected[node] = share;
        CHECK(ByNode(*pool, of_node[node], nodes) == expected);
      }
      CHECK(pool->Pop() == nullptr);

      // Pushed by strangers they go home, where their own CPUs find them; the
      // few that a CPU keeps as spares, when it is drained.
      for (int node = 0; node < nodes; ++node) {
        const int stranger = (node + 1) % nodes * 4;
        cpu.SwitchTo(stranger);
        for (void* object : of_node[node]) pool->Push(object);
        pool->Drain(stranger);
      }
      for (int node = 0; node < nodes; ++node) {
        cpu.SwitchTo(node * 4 + 2);
        std::vector<void*> found;
        for (size_t i = 0; i < share; ++i) found.push_back(pool->Pop());
        std::vector<int> expected(nodes);
        expected[node] = share;
        CHECK(ByNode(*pool, found, nodes) == expected);
      }
    }
  }
}

TEST_CASE("objects stay where they were pushed when they need not go home") {
  auto topology = SyntheticTopology("pack:2 numa:1 core:4 pu:1");
  REQUIRE(topology.ok());
  FakeCpu cpu(0);
  const auto pool = MakePool({.object_size = 16,
                              .object_count = 20,
                              .backend = ObjPool::Backend::kCas,
                              .push_home = false,
                              .topology = &*topology});
  std::vector<void*> near;
  for (int i = 0; i < 10; ++i) near.push_back(pool->Pop());
  CHECK(ByNode(*pool, near, 2) == std::vector<int>{10, 0});
  cpu.SwitchTo(4);
  for (void* object : near) pool->Push(object);
  std::vector<void*> found;
  for (int i = 0; i < 10; ++i) found.push_back(pool->Pop());
  CHECK(ByNode(*pool, found, 2) == std::vector<int>{10, 0});
}

TEST_CASE("objects of a share that is used up come from the other nodes") {
  auto topology = SyntheticTopology("pack:2 numa:1 core:1 pu:1");
  REQUIRE(topology.ok());
  for (const size_t most : {20, 21, 40}) {
    CAPTURE(most);
    FakeCpu cpu(1);
    const auto pool = MakePool({.object_size = 16,
                                .object_count = 20,
                                .max_objects = most,
                                .backend = ObjPool::Backend::kCas,
                                .topology = &*topology});
    const std::vector<void*> all = PopAll(*pool);
    CHECK(std::set<void*>(all.begin(), all.end()).size() == most);
    CHECK(pool->created() == most);
  }
}

}  // namespace
}  // namespace retprobe::test
