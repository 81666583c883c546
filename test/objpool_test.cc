// SPDX-License-Identifier: Apache-2.0
#include "retprobe/objpool.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "objpool/native.h"
#include "objpool/objpool_hot.h"
#include "pool_backends.h"
#include "pool_stress.h"
#include "retprobe/config.h"
#include "topology/topology.h"

namespace retprobe::test {
namespace {

using Objects = std::set<void*>;

Objects Set(const std::vector<void*>& objects) {
  return {objects.begin(), objects.end()};
}

TEST_CASE("every object is popped once and comes back") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    for (const size_t count : {1, 2, 3, 8, 100, 5000}) {
      CAPTURE(count);
      const auto pool = MakePool(
          {.object_size = 40, .object_count = count, .backend = backend});
      Objects first;
      for (int round = 0; round < 3; ++round) {
        const std::vector<void*> all = PopAll(*pool);
        CHECK(all.size() == count);
        CHECK(Set(all).size() == count);
        for (void* object : all) CHECK(pool->Contains(object));
        if (round == 0) first = Set(all);
        CHECK(Set(all) == first);
        for (void* object : all) pool->Push(object);
      }
      CHECK(pool->GetStats().misses == 3);
    }
  }
}

TEST_CASE("objects are aligned, apart, and keep what was written") {
  for (const auto backend : Backends()) {
    for (const size_t alignment : {1, 8, 64, 4096}) {
      for (const size_t size : {1, 7, 64, 100, 280, 4097}) {
        CAPTURE(alignment);
        CAPTURE(size);
        const auto pool = MakePool({.object_size = size,
                                    .object_count = 9,
                                    .alignment = alignment,
                                    .backend = backend});
        std::vector<void*> all = PopAll(*pool);
        REQUIRE(all.size() == 9);
        for (void* object : all) {
          CHECK(reinterpret_cast<uintptr_t>(object) % alignment == 0);
          const size_t index = pool->IndexOf(object);
          CHECK(index < 9);
          CHECK(pool->ObjectAt(index) == object);
          CHECK(!pool->Contains(static_cast<char*>(object) - 1) ==
                (size > 1 || alignment > 1 || index == 0));
          std::memset(object, static_cast<int>(index) + 1, size);
        }
        for (void* object : all) {
          const auto expected =
              static_cast<unsigned char>(pool->IndexOf(object) + 1);
          CHECK(static_cast<unsigned char*>(object)[0] == expected);
          CHECK(static_cast<unsigned char*>(object)[size - 1] == expected);
          pool->Push(object);
        }
        CHECK(!pool->Contains(nullptr));
        CHECK(!pool->Contains(&all));
        CHECK(pool->ObjectAt(9) == nullptr);
      }
    }
  }
}

TEST_CASE("an option out of range is named with its range") {
  const struct {
    ObjPool::Options options;
    const char* name;
    const char* range;
  } wrong[] = {
      {{.object_size = 0, .object_count = 1}, "object_size", "1 .. 1073741824"},
      {{.object_size = (1 << 30) + 1, .object_count = 1},
       "object_size",
       "1 .."},
      {{.object_size = 8}, "object_count", "1 .. 16777214"},
      {{.object_size = 8, .object_count = 16777215}, "object_count", "0 .."},
      {{.object_size = 8, .object_count = 5, .max_objects = 4},
       "max_objects",
       "5 .. 16777214"},
      {{.object_size = 8, .max_objects = 1 << 25}, "max_objects", "0 .."},
      {{.object_size = 8, .object_count = 1, .alignment = 24},
       "alignment",
       "1 .. 4096"},
      {{.object_size = 8, .object_count = 1, .alignment = 0}, "alignment", "1"},
      {{.object_size = 8, .object_count = 1, .magazine_capacity = 64},
       "magazine_capacity",
       "-1 .. 62"},
      {{.object_size = 8, .object_count = 1, .magazine_capacity = -2},
       "magazine_capacity",
       "-1 .. 62"},
  };
  for (const auto& [options, name, range] : wrong) {
    const absl::Status status = ObjPool::Create(options).status();
    CHECK(absl::IsInvalidArgument(status));
    const std::string message(status.message());
    CAPTURE(message);
    CHECK(message.find(name) != std::string::npos);
    CHECK(message.find(range) != std::string::npos);
  }
}

size_t AddressSpacePages() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages;
}

TEST_CASE("without memory nothing is left behind") {
  SystemTopology();
  const ObjPool::Options options = {
      .object_size = 1 << 30, .object_count = 1, .max_objects = 1 << 23};
  CHECK(absl::IsResourceExhausted(ObjPool::Create(options).status()));
  const size_t before = AddressSpacePages();
  const absl::Status status = ObjPool::Create(options).status();
  CHECK(absl::IsResourceExhausted(status));
  CHECK(std::string(status.message()).find("max_objects") != std::string::npos);
  CHECK(AddressSpacePages() == before);
}

TEST_CASE("a pool gives its memory back") {
  const ObjPool::Options options = {.object_size = 64, .object_count = 100000};
  ObjPool::Create(options).IgnoreError();
  const size_t before = AddressSpacePages();
  for (int i = 0; i < 10; ++i) MakePool(options);
  CHECK(AddressSpacePages() == before);
}

TEST_CASE("rseq is refused where there is none") {
  if (RseqAvailable()) return;
  const absl::Status status =
      ObjPool::Create({.object_size = 8,
                       .object_count = 1,
                       .backend = ObjPool::Backend::kRseq})
          .status();
  CHECK(absl::IsUnimplemented(status));
  CHECK(std::string(status.message()).find("rseq") != std::string::npos);
}

TEST_CASE("the environment can choose compare-and-swap") {
  const ObjPool::Options options = {.object_size = 8, .object_count = 1};
  REQUIRE(SetConfigOptions("pool.backend=cas").ok());
  CHECK(MakePool(options)->backend() == ObjPool::Backend::kCas);
  REQUIRE(SetConfigOptions("pool.backend=auto").ok());
  CHECK(MakePool(options)->backend() ==
        (RseqAvailable() ? ObjPool::Backend::kRseq : ObjPool::Backend::kCas));
}

TEST_CASE("each object is initialized once, before it is first popped") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    int calls = 0;
    const auto pool = MakePool({.object_size = 16,
                                .object_count = 10,
                                .max_objects = 100,
                                .backend = backend,
                                .init =
                                    [](void* object, void* context) {
                                      const bool zero =
                                          *static_cast<int*>(object) == 0;
                                      *static_cast<int*>(object) = zero ? 1 : 9;
                                      ++*static_cast<int*>(context);
                                    },
                                .context = &calls});
    CHECK(calls == 10);
    CHECK(pool->created() == 10);
    CHECK(pool->capacity() == 100);
    for (int round = 0; round < 2; ++round) {
      const std::vector<void*> all = PopAll(*pool);
      CHECK(all.size() == 100);
      for (void* object : all) {
        CHECK(*static_cast<int*>(object) == 1);
        pool->Push(object);
      }
      CHECK(calls == 100);
    }
    CHECK(pool->created() == 100);
    CHECK(pool->GetStats().grown == 90);
  }
}

TEST_CASE("a pool that may grow does so only when it must") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool = MakePool({.object_size = 16,
                                .max_objects = 1000000,
                                .magazine_capacity = 0,
                                .backend = backend});
    CHECK(pool->created() == 0);
    void* first = pool->Pop();
    REQUIRE(first != nullptr);
    CHECK(pool->created() == 1);
    pool->Push(first);
    for (int i = 0; i < 100; ++i) {
      void* object = pool->Pop();
      CHECK(object == first);
      pool->Push(object);
    }
    CHECK(pool->created() == 1);
  }
}

TEST_CASE("all objects are visited, in use or not") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool = MakePool({.object_size = 16,
                                .object_count = 20,
                                .max_objects = 50,
                                .backend = backend});
    Objects visited;
    const auto visit = [&visited](void* object) { visited.insert(object); };
    pool->ForEachObject(visit);
    CHECK(visited.size() == 20);
    const std::vector<void*> all = PopAll(*pool);
    visited.clear();
    pool->ForEachObject(visit);
    CHECK(visited == Set(all));
    for (size_t i = 0; i < 25; ++i) pool->Push(all[i]);
    visited.clear();
    pool->ForEachObject(visit);
    CHECK(visited == Set(all));
  }
}

TEST_CASE("what one CPU piled up is found from the others") {
  const AffinityGuard affinity;
  if (affinity.count() < 2) {
    MESSAGE("skipped: one CPU");
    return;
  }
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    for (const size_t count : {1, 4, 40, 3000}) {
      CAPTURE(count);
      const auto pool = MakePool(
          {.object_size = 16, .object_count = count, .backend = backend});
      for (unsigned round = 0; round < 6; ++round) {
        PinTo(affinity.Nth(round));
        const std::vector<void*> all = PopAll(*pool);
        CHECK(all.size() == count);
        CHECK(Set(all).size() == count);
        // Popped on one CPU, pushed on another.
        PinTo(affinity.Nth(round + 1 + round / 2));
        for (void* object : all) pool->Push(object);
      }
    }
  }
}

TEST_CASE("a magazine is drained rather than that a pop finds nothing") {
  const AffinityGuard affinity;
  if (!HasMagazines() || affinity.count() < 2) {
    MESSAGE("skipped: no magazines, or no other CPU");
    return;
  }
  const auto pool = MakePool({.object_size = 16,
                              .object_count = 20,
                              .magazine_capacity = 62,
                              .backend = ObjPool::Backend::kRseq});
  PinTo(affinity.Nth(0));
  std::vector<void*> all;
  for (int i = 0; i < 20; ++i) all.push_back(pool->Pop());
  for (void* object : all) pool->Push(object);
  CHECK(pool->GetStats().drains == 0);
  CHECK(pool->magazine_capacity() == 62);

  PinTo(affinity.Nth(1));
  CHECK(Set(PopAll(*pool)) == Set(all));
  CHECK(pool->GetStats().drains == 1);
  CHECK(pool->GetStats().misses == 1);

  // Starved: nothing is kept private, until things have calmed down.
  CHECK(pool->magazine_capacity() == 0);
  const uint64_t before = pool->GetStats().pushes;
  for (void* object : all) pool->Push(object);
  CHECK(pool->GetStats().pushes == before + 20);
  // On many CPUs it takes longer.
  for (int i = 0; i < 100000 && pool->magazine_capacity() == 0; ++i) {
    pool->Push(pool->Pop());
  }
  CHECK(pool->magazine_capacity() == 62);
  for (int i = 0; i < 100; ++i) pool->Push(pool->Pop());
  const uint64_t after = pool->GetStats().pushes;
  pool->Push(pool->Pop());
  CHECK(pool->GetStats().pushes == after);
  CHECK(Set(PopAll(*pool)) == Set(all));
}

TEST_CASE("a drain cut short leaves nothing locked and nothing lost") {
  const AffinityGuard affinity;
  if (!HasMagazines() || affinity.count() < 2) {
    MESSAGE("skipped: no magazines, or no other CPU");
    return;
  }
  for (const bool confirmed : {false, true}) {
    for (const unsigned popper : {0, 1}) {
      CAPTURE(confirmed);
      CAPTURE(popper);
      const auto pool = MakePool({.object_size = 16,
                                  .object_count = 10,
                                  .magazine_capacity = 10,
                                  .backend = ObjPool::Backend::kRseq});
      PinTo(affinity.Nth(0));
      const std::vector<void*> all = PopAll(*pool);
      for (int i = 0; i < 600; ++i) {
        for (void* object : all) pool->Push(object);
        for (size_t k = 0; k < all.size(); ++k) {
          REQUIRE(pool->Pop() != nullptr);
        }
      }
      REQUIRE(pool->magazine_capacity() == 10);
      for (void* object : all) pool->Push(object);

      // What a drain does first, or first and second.
      auto* magazine =
          static_cast<Magazine*>(pool->magazines()) + affinity.Nth(0);
      REQUIRE(magazine->count == 9);
      const uint64_t frozen = kFrozen | (confirmed ? kConfirmed : 0) |
                              (uint64_t{12345} << kFreezeShift);
      magazine->count = static_cast<int64_t>(frozen | 9);
      void* front = reinterpret_cast<void*>(magazine->front.load());
      REQUIRE(pool->Contains(front));
      magazine->front = static_cast<int64_t>(frozen | pool->IndexOf(front));

      PinTo(affinity.Nth(popper));
      CHECK(Set(PopAll(*pool)) == Set(all));
      CHECK(magazine->count == 0);
      CHECK(magazine->front == 0);
    }
  }
}

TEST_CASE("a frozen magazine serves its CPU until it is empty") {
  const AffinityGuard affinity;
  if (!HasMagazines()) return;
  const auto pool = MakePool({.object_size = 16,
                              .object_count = 8,
                              .magazine_capacity = 8,
                              .backend = ObjPool::Backend::kRseq});
  PinTo(affinity.Nth(0));
  auto* magazine = static_cast<Magazine*>(pool->magazines()) + affinity.Nth(0);
  std::vector<void*> all;
  for (int i = 0; i < 8; ++i) all.push_back(pool->Pop());
  for (int i = 0; i < 6; ++i) pool->Push(all[i]);
  REQUIRE(magazine->count == 5);
  magazine->count =
      static_cast<int64_t>(kFrozen | (uint64_t{1} << kFreezeShift) | 5);
  pool->Push(all[6]);
  pool->Push(all[7]);
  CHECK(magazine->count < 0);
  std::vector<void*> again;
  for (int i = 0; i < 8; ++i) again.push_back(pool->Pop());
  CHECK(Set(again) == Set(all));
  CHECK(magazine->count == 0);
  CHECK(pool->magazine_capacity() == 8);
}

TEST_CASE("thieves go to the nearest CPU") {
  const auto topology = SyntheticTopology("pack:2 l3:2 core:4 pu:1");
  REQUIRE(topology.ok());
  FakeCpu cpu(0);
  const auto pool = MakePool({.object_size = 16,
                              .object_count = 3,
                              .backend = ObjPool::Backend::kCas,
                              .topology = &*topology});
  const std::vector<void*> all = PopAll(*pool);
  const int places[] = {9, 3, 6};  // other package, same cache, same package
  for (int i = 0; i < 3; ++i) {
    cpu.SwitchTo(places[i]);
    pool->Push(all[i]);
  }
  cpu.SwitchTo(1);
  CHECK(pool->Pop() == all[1]);
  CHECK(pool->Pop() == all[2]);
  CHECK(pool->Pop() == all[0]);
  CHECK(pool->Pop() == nullptr);
}

TEST_CASE("every CPU id finds every object, unknown ids too") {
  const Topology topology = FlatTopology(64);
  FakeCpu cpu(0);
  const auto pool = MakePool({.object_size = 16,
                              .object_count = 1000,
                              .backend = ObjPool::Backend::kCas,
                              .topology = &topology});
  for (const int place : {63, 0, 31, 64, 1000, -1}) {
    CAPTURE(place);
    cpu.SwitchTo(place);
    const std::vector<void*> all = PopAll(*pool);
    CHECK(Set(all).size() == 1000);
    for (void* object : all) pool->Push(object);
    cpu.SwitchTo(7);
    const std::vector<void*> again = PopAll(*pool);
    CHECK(again.size() == 1000);
    cpu.SwitchTo(place);
    for (void* object : again) pool->Push(object);
  }
}

TEST_CASE("draining a CPU puts everything where all look") {
  const AffinityGuard affinity;
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool = MakePool({.object_size = 16,
                                .object_count = 500,
                                .magazine_capacity = 5,
                                .backend = backend,
                                .push_home = false});
    PinTo(affinity.Nth(0));
    std::vector<void*> all;
    for (int i = 0; i < 500; ++i) all.push_back(pool->Pop());
    CHECK(Set(all).size() == 500);
    for (void* object : all) pool->Push(object);
    const int here = static_cast<int>(affinity.Nth(0));
    const bool shared = backend == ObjPool::Backend::kFreelist;
    CHECK(pool->Drain(here) == (shared ? 0 : 500));
    CHECK(pool->Drain(here) == 0);
    CHECK(pool->Drain(-1) == 0);
    CHECK(pool->Drain(1 << 20) == 0);
    CHECK(Set(PopAll(*pool)) == Set(all));
  }
}

TEST_CASE("a full ring overflows without loss") {
  if (!RseqAvailable()) return;
  const AffinityGuard affinity;
  PinTo(affinity.Nth(0));
  const Topology topology = FlatTopology(64);
  const auto pool = MakePool({.object_size = 16,
                              .object_count = 1000,
                              .backend = ObjPool::Backend::kRseq,
                              .topology = &topology});
  const std::vector<void*> all = PopAll(*pool);
  for (int round = 0; round < 3; ++round) {
    for (void* object : all) pool->Push(object);
    const Objects found = Set(PopAll(*pool));
    CHECK(found == Set(all));
  }
}

TEST_CASE("a ring goes round many times") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const AffinityGuard affinity;
    PinTo(affinity.Nth(0));
    const auto pool = MakePool({.object_size = 16,
                                .object_count = 7,
                                .magazine_capacity = 0,
                                .backend = backend});
    std::vector<void*> all = PopAll(*pool);
    for (size_t i = 0; i < 100000; ++i) {
      for (size_t k = 0; k <= i % 7; ++k) pool->Push(all[k]);
      for (size_t k = 0; k <= i % 7; ++k) all[k] = pool->Pop();
      REQUIRE(Set(all).size() == 7);
      REQUIRE(Set(all).count(nullptr) == 0);
    }
  }
}

TEST_CASE("the trampoline finds what it was promised") {
  for (const auto backend : Backends()) {
    const auto pool =
        MakePool({.object_size = 16, .object_count = 4, .backend = backend});
    char* magazines = static_cast<char*>(pool->magazines());
    CHECK(reinterpret_cast<uintptr_t>(magazines) % sizeof(Magazine) == 0);
    const auto* header = reinterpret_cast<const MagazineHeader*>(
        magazines - sizeof(MagazineHeader));
    CHECK(header->pool == pool.get());
    CHECK((header->cpus != 0) ==
          (backend == ObjPool::Backend::kRseq && HasMagazines()));
    void* object = retprobe_pop_slow(magazines);
    CHECK(pool->Contains(object));
    retprobe_push_slow(magazines, object);
    CHECK(PopAll(*pool).size() == 4);
  }
}

}  // namespace
}  // namespace retprobe::test
