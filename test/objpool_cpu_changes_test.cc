// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "affinity.h"
#include "pool_backends.h"
#include "pool_stress.h"
#include "retprobe/objpool.h"

// Pools whose CPUs come and go: others change the threads' affinity, as a
// cgroup's cpuset does, and CPUs go offline and come back.

namespace retprobe {
namespace {

using test::AffinityGuard;
using test::Backends;
using test::MakePool;
using test::Name;
using test::PinTo;
using test::PoolStress;

constexpr size_t kObjects = 256;

std::vector<int> Allowed() {
  cpu_set_t set;
  REQUIRE(sched_getaffinity(0, sizeof(set), &set) == 0);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// Gives every thread of this process but the caller the CPUs `cpus`.
void MoveOthers(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/self/task")) {
    const int thread = std::stoi(task.path().filename().string());
    if (thread == gettid()) continue;
    // Fails for threads that have just ended.
    sched_setaffinity(thread, sizeof(set), &set);
  }
}

void Finish(PoolStress<ObjPool>& stress) {
  CHECK(!stress.ledger().failed());
  CHECK(stress.hits() > 0);
  CHECK(stress.ledger().CountIdle() == kObjects);
}

TEST_CASE("threads are moved back and forth from outside") {
  const std::vector<int> cpus = Allowed();
  if (cpus.size() < 2) {
    MESSAGE("skipped: one CPU");
    return;
  }
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool = MakePool(
        {.object_size = 64, .object_count = kObjects, .backend = backend});
    PoolStress<ObjPool> stress(*pool);
    uint64_t random = 88172645463325252u;
    stress.Run({.threads = 6, .hold = 32, .seconds = 1, .meanwhile = [&] {
                  const uint64_t draw = test::Random(random);
                  std::vector<int> some = {cpus[draw % cpus.size()]};
                  for (const int cpu : cpus) {
                    if ((draw >> (8 + cpu % 50) & 1) != 0) some.push_back(cpu);
                  }
                  MoveOthers(some);
                }});
    Finish(stress);
  }
}

TEST_CASE("who may use one CPU only finds what lies at all the others") {
  const AffinityGuard guard;
  const std::vector<int> cpus = Allowed();
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool = MakePool(
        {.object_size = 64, .object_count = kObjects, .backend = backend});
    const std::vector<void*> objects = test::PopAll(*pool);
    REQUIRE(objects.size() == kObjects);
    for (size_t i = 0; i < kObjects; ++i) {
      PinTo(cpus[i * cpus.size() / kObjects]);
      pool->Push(objects[i]);
    }
    PinTo(cpus.front());
    CHECK(test::PopAll(*pool).size() == kObjects);
  }
}

std::string OnlineFile(int cpu) {
  return "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/online";
}

// False where the system refuses.
bool SetOnline(int cpu, bool online) {
  std::ofstream file(OnlineFile(cpu));
  file << (online ? '1' : '0') << std::flush;
  return file.good();
}

// The CPUs that can be switched off; none, with the reason, where this must
// not be tried.
std::vector<int> Switchable() {
  std::vector<int> found;
  if (std::getenv("RETPROBE_MAY_OFFLINE_CPUS") == nullptr) {
    MESSAGE("skipped: it switches CPUs off; see test/qemu/run");
    return found;
  }
  for (const int cpu : Allowed()) {
    if (access(OnlineFile(cpu).c_str(), W_OK) == 0) found.push_back(cpu);
  }
  CHECK(found.size() > 1);
  return found;
}

TEST_CASE("what lies at a CPU that went offline is found, drained or not") {
  const AffinityGuard guard;
  const std::vector<int> cpus = Switchable();
  if (cpus.empty()) return;
  for (const auto backend : Backends()) {
    for (const bool drain : {false, true}) {
      CAPTURE(Name(backend));
      CAPTURE(drain);
      const auto pool = MakePool(
          {.object_size = 64, .object_count = kObjects, .backend = backend});
      const int gone = cpus.back();
      PinTo(gone);
      const std::vector<void*> objects = test::PopAll(*pool);
      REQUIRE(objects.size() == kObjects);
      for (void* object : objects) pool->Push(object);
      PinTo(cpus.front());
      REQUIRE(SetOnline(gone, false));
      if (drain) {
        const size_t moved = pool->Drain(gone);
        CHECK(moved <= kObjects);
        // Nothing is left there.
        CHECK(pool->Drain(gone) == 0);
      }
      CHECK(test::PopAll(*pool).size() == kObjects);
      CHECK(SetOnline(gone, true));
    }
  }
}

TEST_CASE("CPUs go offline and come back under threads that pop and push") {
  const std::vector<int> cpus = Switchable();
  if (cpus.empty()) return;
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    const auto pool = MakePool(
        {.object_size = 64, .object_count = kObjects, .backend = backend});
    PoolStress<ObjPool> stress(*pool);
    size_t turns = 0;
    // Few threads: switching a CPU off waits for the others, which emulation
    // makes slow.
    stress.Run({.threads = 4,
                .hold = 48,
                .seconds = 4,
                .migrate = true,
                .meanwhile = [&] {
                  const int cpu = cpus[turns * 5 % cpus.size()];
                  if (!SetOnline(cpu, false)) return;
                  pool->Drain(cpu);
                  REQUIRE(SetOnline(cpu, true));
                  ++turns;
                }});
    CHECK(turns > 0);
    MESSAGE(turns << " times a CPU went offline");
    Finish(stress);
  }
}

}  // namespace
}  // namespace retprobe
