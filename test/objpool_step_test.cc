// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <signal.h>
#include <ucontext.h>

#include <functional>
#include <set>

#include "base/cpu.h"
#include "objpool/objpool_hot.h"
#include "pool_backends.h"
#include "topology/topology.h"

// What others do between two instructions of ours, tried between any two: the
// trap flag stops the thread after each instruction, and a signal handler acts
// for the others. Restartable sequences cannot be stopped in like that, so this
// is about the tiers without.

namespace retprobe::test {
namespace {

constexpr greg_t kTrapFlag = 0x100;

// What to do after how many instructions.
std::function<void()>* action;
int steps_left;

void OnTrap(int, siginfo_t*, void* context) {
  greg_t& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
  if (--steps_left > 0) return;
  flags &= ~kTrapFlag;
  (*action)();
}

void SetTrapFlag() {
  asm volatile(
      "lea -128(%%rsp), %%rsp\n\t"
      "pushfq\n\t"
      "orq $0x100, (%%rsp)\n\t"
      "popfq\n\t"
      "lea 128(%%rsp), %%rsp"
      :
      :
      : "memory", "cc");
}

void ClearTrapFlag() {
  asm volatile(
      "lea -128(%%rsp), %%rsp\n\t"
      "pushfq\n\t"
      "andq $~0x100, (%%rsp)\n\t"
      "popfq\n\t"
      "lea 128(%%rsp), %%rsp"
      :
      :
      : "memory", "cc");
}

// Runs `victim` and, after `steps` of its instructions, `others`. False when it
// ended before.
bool Interrupt(int steps, const std::function<void()>& victim,
               std::function<void()> others) {
  struct sigaction trap = {};
  struct sigaction before;
  trap.sa_sigaction = OnTrap;
  trap.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &trap, &before);
  action = &others;
  steps_left = steps;
  SetTrapFlag();
  victim();
  ClearTrapFlag();
  sigaction(SIGTRAP, &before, nullptr);
  return steps_left <= 0;
}

// The slow paths: the fast one is a restartable sequence (which finds no CPU
// here) and would restart for ever.
void* Pop(ObjPool& pool) { return retprobe_pop_slow(pool.magazines()); }
void Push(ObjPool& pool, void* object) {
  retprobe_push_slow(pool.magazines(), object);
}

constexpr int kMostSteps = 5000;

TEST_CASE("a pop finds the object that moved behind its back") {
  const Topology topology = FlatTopology(2);
  for (int steps = 1;; ++steps) {
    CAPTURE(steps);
    REQUIRE(steps < kMostSteps);
    FakeCpu cpu(0);
    const auto pool = MakePool({.object_size = 16,
                                .object_count = 2,
                                .backend = ObjPool::Backend::kCas,
                                .topology = &topology});
    void* here = pool->Pop();
    void* there = pool->Pop();
    cpu.SwitchTo(1);
    pool->Push(there);
    cpu.SwitchTo(0);
    // The others never hold both objects, so one is idle all the time.
    void* taken = nullptr;
    void* found = nullptr;
    const bool interrupted = Interrupt(
        steps, [&] { found = Pop(*pool); },
        [&] {
          pool->Push(here);
          cpu.SwitchTo(1);
          taken = pool->Pop();
          cpu.SwitchTo(0);
        });
    REQUIRE(found != nullptr);
    if (!interrupted) break;
    REQUIRE(found != taken);
  }
}

TEST_CASE("an object that left and came back is not mistaken") {
  const Topology topology = FlatTopology(2);
  for (const bool push : {false, true}) {
    for (int steps = 1;; ++steps) {
      CAPTURE(push);
      CAPTURE(steps);
      REQUIRE(steps < kMostSteps);
      const auto pool = MakePool({.object_size = 16,
                                  .object_count = 4,
                                  .backend = ObjPool::Backend::kCas,
                                  .topology = &topology});
      FakeCpu cpu(0);
      std::vector<void*> all = PopAll(*pool);
      void* mine = all[3];
      for (int i = push ? 2 : 3; i >= 0; --i) pool->Push(all[i]);
      // The top is taken, another too, and the top comes back on another one.
      void* kept = nullptr;
      const auto others = [&] {
        void* first = pool->Pop();
        kept = pool->Pop();
        pool->Push(first);
      };
      const bool interrupted = Interrupt(
          steps,
          [&] {
            if (push) {
              Push(*pool, mine);
            } else {
              mine = Pop(*pool);
            }
          },
          others);
      std::multiset<void*> owned;
      if (interrupted) owned.insert(kept);
      if (!push) owned.insert(mine);
      for (void* object : PopAll(*pool)) owned.insert(object);
      REQUIRE(owned == std::multiset<void*>(all.begin(), all.end()));
      if (!interrupted) break;
    }
  }
}

TEST_CASE("a pool grows once for each pop that is interrupted by another") {
  for (int steps = 1;; ++steps) {
    CAPTURE(steps);
    REQUIRE(steps < kMostSteps);
    const auto pool = MakePool({.object_size = 16,
                                .max_objects = 2,
                                .backend = ObjPool::Backend::kCas});
    void* mine = nullptr;
    void* other = nullptr;
    const bool interrupted = Interrupt(
        steps, [&] { mine = Pop(*pool); }, [&] { other = pool->Pop(); });
    REQUIRE(mine != nullptr);
    if (!interrupted) break;
    REQUIRE(other != nullptr);
    REQUIRE(other != mine);
    REQUIRE(pool->Pop() == nullptr);
  }
}

}  // namespace
}  // namespace retprobe::test
