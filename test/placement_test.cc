// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mman.h>

#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pool_backends.h"
#include "pool_stress.h"
#include "retprobe/objpool.h"
#include "topology/memory.h"
#include "topology/topology.h"

// That objects lie on the node where the options want them. All of it needs
// two NUMA nodes: test/qemu/run has them.

namespace retprobe {
namespace {

using test::AffinityGuard;
using test::MakePool;
using test::PinTo;
using Placement = ObjPool::Placement;

constexpr size_t kPage = 4096;

// False, and says so, where there is nothing to be seen.
bool HasNodes() {
  if (SystemTopology().nodes.size() >= 2) return true;
  MESSAGE("skipped: this machine has one NUMA node; see test/qemu/run");
  return false;
}

// Objects of a page each, so that every one can lie on another node.
ObjPool::Options Pages(size_t objects, Placement placement, int node = -1) {
  ObjPool::Options options;
  options.object_size = kPage;
  options.alignment = kPage;
  options.object_count = objects;
  options.placement = placement;
  options.node = node;
  return options;
}

void PinToNode(int node) { PinTo(SystemTopology().CpusOf(node).front()); }

// The first node with CPUs that is not `node`.
int OtherNode(int node) {
  const Topology& topology = SystemTopology();
  for (const int other : topology.nodes) {
    if (other != node && !topology.CpusOf(other).empty()) return other;
  }
  return node;
}

// Touches the page first, if nobody has.
int NodeOf(void* object) {
  *static_cast<volatile char*>(object) = 1;
  const absl::StatusOr<int> node = NodeOfPage(object);
  REQUIRE_MESSAGE(node.ok(), std::string(node.status().message()));
  return *node;
}

std::vector<void*> PopSome(ObjPool& pool, size_t count) {
  std::vector<void*> objects;
  for (size_t i = 0; i < count; ++i) objects.push_back(pool.Pop());
  REQUIRE(objects.back() != nullptr);
  return objects;
}

size_t CountOn(int node, const std::vector<void*>& objects) {
  size_t count = 0;
  for (void* object : objects) count += NodeOf(object) == node ? 1 : 0;
  return count;
}

TEST_CASE("a CPU's objects lie on its node, whoever touches them first") {
  if (!HasNodes()) return;
  const AffinityGuard guard;
  auto pool = MakePool(Pages(512, Placement::kLocal));
  for (const int node : SystemTopology().nodes) {
    CAPTURE(node);
    PinToNode(node);
    const std::vector<void*> objects = PopSome(*pool, 64);
    PinToNode(OtherNode(node));
    CHECK(CountOn(node, objects) == objects.size());
  }
}

TEST_CASE("objects made later lie on the node of who needed them") {
  if (!HasNodes()) return;
  const AffinityGuard guard;
  ObjPool::Options options = Pages(0, Placement::kLocal);
  options.max_objects = 512;
  options.growth_chunk = 8;
  auto pool = MakePool(options);
  for (const int node : SystemTopology().nodes) {
    CAPTURE(node);
    PinToNode(node);
    const std::vector<void*> objects = PopSome(*pool, 64);
    PinToNode(OtherNode(node));
    CHECK(CountOn(node, objects) == objects.size());
  }
}

TEST_CASE("a node that has run out of objects takes those of the others") {
  if (!HasNodes()) return;
  const AffinityGuard guard;
  auto pool = MakePool(Pages(256, Placement::kLocal));
  PinToNode(SystemTopology().nodes.front());
  const std::vector<void*> objects = PopSome(*pool, 256);
  CHECK(pool->Pop() == nullptr);
}

TEST_CASE("objects that are pushed on another node come home") {
  if (!HasNodes()) return;
  const AffinityGuard guard;
  auto pool = MakePool(Pages(512, Placement::kLocal));
  const int home = SystemTopology().nodes.front();
  PinToNode(home);
  const std::vector<void*> objects = PopSome(*pool, 200);
  PinToNode(OtherNode(home));
  for (void* object : objects) pool->Push(object);
  PinToNode(home);
  // Not those that the other CPU keeps to itself.
  const std::vector<void*> again = PopSome(*pool, 128);
  CHECK(CountOn(home, again) == again.size());
}

TEST_CASE("interleaved objects lie on all nodes alike") {
  if (!HasNodes()) return;
  const AffinityGuard guard;
  const Topology& topology = SystemTopology();
  PinToNode(topology.nodes.front());
  auto pool = MakePool(Pages(512, Placement::kInterleave));
  const std::vector<void*> objects = PopSome(*pool, 512);
  for (const int node : topology.nodes) {
    CAPTURE(node);
    CHECK(CountOn(node, objects) == 512 / topology.nodes.size());
  }
}

TEST_CASE("all objects lie on the node that is named") {
  if (!HasNodes()) return;
  const AffinityGuard guard;
  for (const int node : SystemTopology().nodes) {
    CAPTURE(node);
    PinToNode(OtherNode(node));
    auto pool = MakePool(Pages(128, Placement::kNode, node));
    CHECK(CountOn(node, PopSome(*pool, 128)) == 128);
  }
}

TEST_CASE(
    "a node that does not exist is refused, and those that do are named") {
  if (!HasNodes()) return;
  const Topology& topology = SystemTopology();
  const int beyond = topology.nodes.back() + 1;
  const absl::Status status =
      ObjPool::Create(Pages(8, Placement::kNode, beyond)).status();
  CHECK(absl::IsInvalidArgument(status));
  const std::string message(status.message());
  CAPTURE(message);
  CHECK(message.find("node is " + std::to_string(beyond)) != std::string::npos);
  CHECK(message.find(topology.NodeList()) != std::string::npos);
  CHECK(absl::IsInvalidArgument(BindMemory(nullptr, kPage, beyond)));
}

// Bytes that node `node` has to give away.
size_t FreeOn(int node) {
  std::ifstream file("/sys/devices/system/node/node" + std::to_string(node) +
                     "/meminfo");
  std::string word;
  size_t kilobytes = 0;
  while (file >> word) {
    if (word == "MemFree:" && file >> kilobytes) break;
  }
  return kilobytes << 10;
}

TEST_CASE("a full node takes memory from the next one instead of crashing") {
  if (!HasNodes()) return;
  if (std::getenv("RETPROBE_MAY_FILL_NODES") == nullptr) {
    MESSAGE("skipped: it fills a node's memory; see test/qemu/run");
    return;
  }
  const int node = SystemTopology().nodes.back();
  const size_t bytes = (FreeOn(node) & -kPage) + (size_t{64} << 20);
  REQUIRE(bytes > size_t{64} << 20);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  REQUIRE(BindMemory(memory, bytes, node).ok());
  std::map<int, size_t> pages;
  auto* begin = static_cast<char*>(memory);
  for (char* page = begin; page < begin + bytes; page += kPage) {
    *page = 1;
    // Where each page is asks the kernel: a sample does.
    if ((page - begin) % (kPage * 64) == 0) ++pages[NodeOf(page)];
  }
  munmap(memory, bytes);
  CHECK(pages.size() == 2);
  CHECK(pages[node] > pages[OtherNode(node)]);
}

}  // namespace
}  // namespace retprobe
