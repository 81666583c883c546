// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "child_pool.h"
#include "pool_backends.h"
#include "pool_stress.h"
#include "retprobe/objpool.h"

// The part of objpool_stress_test that runs for hours if told to: pools and
// loads drawn at random, one round after the other.

namespace retprobe::test {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// RETPROBE_STRESS_SEED, or one that nobody knows. Round n has this plus n, so
// that the seed of a round that failed begins with that round.
uint64_t FirstSeed() {
  const char* text = std::getenv("RETPROBE_STRESS_SEED");
  if (text != nullptr) return std::strtoull(text, nullptr, 0);
  return std::random_device()();
}

// Draws from what a seed leads to.
class Dice {
 public:
  // Neighbouring seeds lead to different places (splitmix64).
  explicit Dice(uint64_t seed) : state_(seed + 0x9e3779b97f4a7c15) {
    state_ = (state_ ^ (state_ >> 30)) * 0xbf58476d1ce4e5b9;
    state_ = (state_ ^ (state_ >> 27)) * 0x94d049bb133111eb;
    state_ = (state_ ^ (state_ >> 31)) | 1;
  }
  uint64_t Number() { return Random(state_) * 0x2545f4914f6cdd1d >> 16; }
  uint64_t From(uint64_t least, uint64_t most) {
    return least + Number() % (most - least + 1);
  }
  bool OneIn(uint64_t n) { return Number() % n == 0; }
  template <typename T, size_t kSize>
  T OneOf(const T (&choices)[kSize]) {
    return choices[Number() % kSize];
  }

 private:
  uint64_t state_;
};

struct Round {
  explicit Round(uint64_t seed);

  ObjPool::Options pool;
  StressOptions load;
  bool fork;   // children now and then
  bool drain;  // CPUs now and then
  bool resize;
  bool end_early;  // the pool, while objects are out
};

Round::Round(uint64_t seed) {
  Dice dice(seed);
  const auto backends = Backends();
  pool.backend = backends[dice.Number() % backends.size()];
  load.threads = static_cast<int>(dice.From(1, 12));
  load.hold = static_cast<int>(dice.From(1, 16));
  load.signals = dice.OneIn(2);
  load.migrate = dice.OneIn(2);
  load.seconds = 0.1 * static_cast<double>(dice.From(1, 5));
  load.seed = dice.Number() | 1;
  fork = dice.OneIn(4);
  drain = dice.OneIn(3);
  resize = dice.OneIn(4);
  end_early = dice.OneIn(3);
  load.batch = dice.OneIn(2);
  load.drop = dice.OneIn(4);

  pool.object_size = dice.OneOf({16, 64, 72, 280, 512, 4096});
  pool.alignment = dice.OneOf({8, 64, 64, 128, 4096});
  pool.magazine_capacity = dice.OneOf({-1, -1, 0, 1, 8, 62});
  // Wanted at once: from nearly nothing to much more than that.
  const uint64_t wanted = load.threads * (load.hold + (load.signals ? 2 : 0));
  pool.ring_capacity = dice.OneOf({0, 0, 8, 64});
  pool.growth_chunk = dice.OneOf({0, 0, 1});
  const uint64_t objects[] = {1, (wanted + 3) / 4, wanted, 4 * wanted, 3000};
  pool.max_objects = dice.OneOf(objects);
  pool.object_count =
      dice.OneIn(2) ? pool.max_objects : dice.From(0, pool.max_objects);
}

std::string Describe(const Round& round) {
  const ObjPool::Options& pool = round.pool;
  const StressOptions& load = round.load;
  char text[200];
  std::snprintf(text, sizeof(text),
                "%s, %zu .. %zu objects of %zu bytes, magazines %d; "
                "%d threads hold %d",
                Name(pool.backend).c_str(), pool.object_count, pool.max_objects,
                pool.object_size, pool.magazine_capacity, load.threads,
                load.hold);
  std::string all = text;
  const std::pair<bool, const char*> also[] = {
      {load.signals, "signals"}, {load.migrate, "migrate"},
      {load.batch, "batch"},     {load.drop, "drop"},
      {round.fork, "fork"},      {round.drain, "drain"},
      {round.resize, "resize"},  {round.end_early, "end early"}};
  for (const auto& [on, name] : also) {
    if (on) all.append(", ").append(name);
  }
  return all;
}

// How many objects of a pool are initialized, finished, and how often the pool
// was released.
struct Lives {
  std::atomic<size_t> initialized{0};
  std::atomic<size_t> finished{0};
  std::atomic<size_t> released{0};
};

// Ends the pool while objects are out, which threads then give back.
void EndEarly(std::unique_ptr<ObjPool> pool, ObjectLedger<ObjPool>& ledger,
              const Lives& lives) {
  std::vector<void*> out[2];
  for (int i = 0; i < 8; ++i) {
    if (void* object = ledger.Pop()) out[i % 2].push_back(object);
  }
  ObjPool::Fini(std::move(pool));
  CHECK(lives.released == (out[0].empty() ? 1 : 0));
  std::thread other([&] {
    for (void* object : out[1]) ledger.Push(object);
  });
  for (void* object : out[0]) ledger.Drop(object);
  other.join();
}

void Meanwhile(const Round& round, int turn, ObjPool& pool,
               ObjectLedger<ObjPool>& ledger) {
  if (round.drain) pool.Drain(turn % (PossibleCpus() + 2) - 1);
  if (round.resize && turn % 4 == 0) {
    // May find that others grow the pool at the same time.
    pool.Resize(1 + turn * 7919 % pool.capacity()).IgnoreError();
  }
  // A child of a pool whose objects come and go cannot know how many.
  const bool steady = round.pool.object_count == round.pool.max_objects &&
                      !round.resize && !round.load.drop;
  if (round.fork && steady && turn % 8 == 0) {
    CHECK(StatusOfChildThatCounts(pool, ledger, 0, pool.capacity()) == 0);
  }
}

// Returns how many objects were popped.
uint64_t Run(Round round) {
  Lives lives;
  round.pool.context = &lives;
  round.pool.init = [](void*, void* context) {
    ++static_cast<Lives*>(context)->initialized;
  };
  round.pool.fini = [](void*, void* context) {
    ++static_cast<Lives*>(context)->finished;
  };
  round.pool.release = [](void* context) {
    ++static_cast<Lives*>(context)->released;
  };
  auto pool = MakePool(round.pool);
  PoolStress<ObjPool> stress(*pool, round.pool.object_size / 8);
  int turn = 0;
  round.load.meanwhile = [&] {
    Meanwhile(round, ++turn, *pool, stress.ledger());
  };
  stress.Run(round.load);
  CHECK(pool->InUse().empty());
  if (round.resize) CHECK(pool->Resize(pool->capacity()).ok());
  CHECK(stress.ledger().CountIdle() == pool->capacity());
  CHECK(lives.initialized - lives.finished == pool->created());
  CHECK(lives.released == 0);
  if (round.end_early) EndEarly(std::move(pool), stress.ledger(), lives);
  pool.reset();
  CHECK(lives.initialized == lives.finished);
  CHECK(lives.released == 1);
  CHECK(stress.ledger().duplicates() == 0);
  CHECK(stress.ledger().overwritten() == 0);
  CHECK(stress.ledger().foreign() == 0);
  return stress.hits();
}

TEST_CASE("pools and loads drawn at random lose and double nothing") {
  const uint64_t first = FirstSeed();
  const double seconds = StressSeconds() * 0.375;
  const auto start = Clock::now();
  uint64_t rounds = 0;
  uint64_t pops = 0;
  while (SecondsSince(start) < seconds) {
    const uint64_t seed = first + rounds;
    const Round round(seed);
    INFO("RETPROBE_STRESS_SEED=", seed, ": ", Describe(round));
    // Before, for a crash that says nothing.
    std::printf("%.0f of %.0f s, %lu pops; RETPROBE_STRESS_SEED=%lu: %s\n",
                SecondsSince(start), seconds, pops, seed,
                Describe(round).c_str());
    std::fflush(stdout);
    pops += Run(round);
    ++rounds;
  }
  MESSAGE("RETPROBE_STRESS_SEED=" << first << ": " << rounds << " rounds, "
                                  << pops << " pops");
}

}  // namespace
}  // namespace retprobe::test
