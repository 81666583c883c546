// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "objpool/memory_checkers.h"
#include "objpool/objpool_hot.h"
#include "pool_backends.h"
#include "pool_stress.h"
#include "topology/topology.h"

namespace retprobe::test {
namespace {

constexpr uint64_t kPage = 4096;

// The pages of [begin, begin + bytes) that are in memory.
size_t Touched(const void* begin, uint64_t bytes) {
  const uintptr_t first = reinterpret_cast<uintptr_t>(begin) & -kPage;
  const uint64_t pages =
      (reinterpret_cast<uintptr_t>(begin) + bytes - first + kPage - 1) / kPage;
  std::vector<unsigned char> in_memory(pages);
  REQUIRE(mincore(reinterpret_cast<void*>(first), pages * kPage,
                  in_memory.data()) == 0);
  size_t count = 0;
  for (const unsigned char page : in_memory) count += page & 1;
  return count;
}

const PoolCore& CoreOf(const ObjPool& pool) {
  return *static_cast<const PoolCore*>(
      static_cast<const MagazineHeader*>(pool.magazines())[-1].core);
}

TEST_CASE(
    "65,536 objects on 256 CPUs cost little, and untouched CPUs nothing") {
  if (RETPROBE_DEBUG_CHECKS || RETPROBE_ASAN) {
    MESSAGE("skipped: checks take memory of their own");
    return;
  }
  const Topology topology = FlatTopology(256);
  const AffinityGuard affinity;
  PinTo(affinity.Nth(0));
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool = MakePool({.object_size = 64,
                                .object_count = 65536,
                                .backend = backend,
                                .topology = &topology});
    CHECK(pool->overhead() <= 2 << 20);
    const PoolCore& core = CoreOf(*pool);
    const uint64_t metadata = static_cast<const std::byte*>(core.objects) -
                              static_cast<const std::byte*>(core.memory);
    const size_t at_first = Touched(core.memory, metadata);
    // The links say of each object that it exists.
    const size_t links = 65536 * sizeof(uint32_t) / kPage;
    CHECK(at_first <= links + 8);
    CHECK(Touched(core.objects, core.objects_mapped) == 0);

    for (int i = 0; i < 1000; ++i) {
      void* objects[100];
      REQUIRE(pool->PopBatch(objects, 100) == 100);
      pool->PushBatch(objects, 100);
    }
    const size_t in_use = Touched(core.memory, metadata);
    // This CPU's magazine, slot, ring; flags.
    CHECK(in_use <= at_first + 8);
    CHECK(Touched(core.objects, core.objects_mapped) == 0);
    MESSAGE(Name(backend) << ": " << pool->overhead() / 1024 << " KiB, "
                          << at_first * kPage / 1024 << " KiB touched, "
                          << in_use * kPage / 1024 << " after use by one CPU");
  }
}

// In a child whose address space may not grow by more than 64 MiB: 0 when a
// pool too large is refused 100 times, and one that fits can be had after.
int TryWithoutMemory() {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  statm >> pages;
  const rlimit limit = {pages * kPage + (64 << 20), RLIM_INFINITY};
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
  ObjPool::Options options = {.object_size = 1024, .object_count = 100000};
  for (int i = 0; i < 100; ++i) {
    const absl::Status status = ObjPool::Create(options).status();
    if (!absl::IsResourceExhausted(status)) return 2;
    if (status.message().find("max_objects") == std::string::npos) return 3;
  }
  options.object_count = 40000;
  for (int i = 0; i < 100; ++i) {
    if (!ObjPool::Create(options).ok()) return 4;
  }
  return 0;
}

TEST_CASE("without memory a pool is refused and leaves nothing behind") {
  if (RETPROBE_ASAN) {
    MESSAGE("skipped: AddressSanitizer wants terabytes");
    return;
  }
  MakePool({.object_size = 8, .object_count = 1});
  const pid_t child = fork();
  if (child == 0) _exit(TryWithoutMemory());
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE(
    "impossible nodes, rings and chunks are named with what is possible") {
  const ObjPool::Options good = {.object_size = 8, .object_count = 10};
  const auto refused = [&](auto change, const char* what) {
    ObjPool::Options options = good;
    change(options);
    const absl::Status status = ObjPool::Create(options).status();
    const std::string message(status.message());
    CAPTURE(what);
    CAPTURE(message);
    CHECK(absl::IsInvalidArgument(status));
    CHECK(message.find(what) != std::string::npos);
  };
  const auto on_node = [](int node) {
    return [node](ObjPool::Options& options) {
      options.placement = ObjPool::Placement::kNode;
      options.node = node;
    };
  };
  refused(on_node(-1), "node is -1, and the nodes are 0");
  refused(on_node(4711), "node is 4711, and the nodes are 0");
  refused([](auto& options) { options.ring_capacity = 7; },
          "ring_capacity is 7, not in 8 .. 65536");
  refused([](auto& options) { options.ring_capacity = 65537; },
          "ring_capacity is 65537, not in 8 .. 65536");
  refused([](auto& options) { options.growth_chunk = 1 << 24; },
          "growth_chunk is 16777216, not in ");
}

}  // namespace
}  // namespace retprobe::test
