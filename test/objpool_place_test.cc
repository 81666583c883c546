// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <set>

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

}  // namespace
}  // namespace retprobe::test
