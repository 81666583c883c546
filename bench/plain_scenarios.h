// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PLAIN_SCENARIOS_H_
#define RETPROBE_BENCH_PLAIN_SCENARIOS_H_

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "private_bytes.h"
#include "scenario.h"

// Scenarios in which every thread does the same.

namespace retprobe::bench {

// Pops one object and pushes it: there are plenty. Also with more threads than
// CPUs.
template <typename Pool>
void Ideal(benchmark::State& state) {
  static std::unique_ptr<Pool> pool;
  RunScenario(
      state, pool,
      [&] { pool = std::make_unique<Pool>(64 * state.threads(), kObjectSize); },
      [](Local<Pool>& local, uint64_t pops) {
        uint64_t misses = 0;
        for (uint64_t i = 0; i < pops; ++i) {
          void* object = local.Pop();
          benchmark::DoNotOptimize(object);
          if (object != nullptr) {
            local.Push(object);
          } else {
            ++misses;
          }
        }
        return Tally{pops - misses, misses};
      });
}

// In a pool's place, for the least that a pop and a push take one after the
// other: a word of the thread's own is read and emptied, then filled again, and
// each waits for what the other has just stored. No CPU to ask for, no other
// thread, no signal to mind.
class WordAlone {
 public:
  WordAlone(size_t, size_t) {}
  class Local {
   public:
    explicit Local(WordAlone&) {}
    void* Pop() {
      void* const object = word_;
      if (object != nullptr) word_ = nullptr;
      return object;
    }
    void Push(void* object) {
      if (word_ == nullptr) word_ = object;
    }

   private:
    void* volatile word_ = this;
  };
};

// Takes everything out of a pool.
template <typename Pool>
std::vector<void*> PopAll(Pool& pool) {
  Local<Pool> local(pool);
  std::vector<void*> objects;
  while (void* object = local.Pop()) objects.push_back(object);
  return objects;
}

// No object is to be had: every pop fails. Made-up CPUs in state.range(0), if
// the pool can.
template <typename Pool, bool kMadeUp = false>
void Empty(benchmark::State& state) {
  static std::unique_ptr<Pool> pool;
  RunScenario(
      state, pool,
      [&] {
        if constexpr (kMadeUp) {
          const auto cpus = static_cast<int>(state.range(0));
          pool = std::make_unique<Pool>(2 * cpus, kObjectSize, cpus);
        } else {
          pool = std::make_unique<Pool>(16 * state.threads(), kObjectSize);
        }
        PopAll(*pool);  // and forgets them: the pool goes next
      },
      [](Local<Pool>& local, uint64_t pops) {
        uint64_t hits = 0;
        for (uint64_t i = 0; i < pops; ++i) {
          void* object = local.Pop();
          benchmark::DoNotOptimize(object);
          if (object != nullptr) ++hits;
        }
        return Tally{hits, pops - hits};
      });
  if (state.counters["hits"].value > 0) {
    state.SkipWithError("an empty pool gave an object");
  }
}

// Takes 32 objects, then gives all back: by the pool's batch calls, if it has
// some.
template <typename Pool>
void Bulk(benchmark::State& state) {
  static std::unique_ptr<Pool> pool;
  constexpr size_t kWanted = 32;
  RunScenario(
      state, pool,
      [&] {
        pool =
            std::make_unique<Pool>(4 * kWanted * state.threads(), kObjectSize);
      },
      [](Local<Pool>& local, uint64_t pops) {
        void* held[kWanted];
        Tally tally;
        for (uint64_t i = 0; i < pops; i += kWanted) {
          size_t count = 0;
          if constexpr (requires { local.PopBatch(held, kWanted); }) {
            count = local.PopBatch(held, kWanted);
            benchmark::DoNotOptimize(held);
          } else {
            for (size_t k = 0; k < kWanted; ++k) {
              void* object = local.Pop();
              benchmark::DoNotOptimize(object);
              if (object != nullptr) held[count++] = object;
            }
          }
          tally.hits += count;
          tally.misses += kWanted - count;
          if constexpr (requires { local.PushBatch(held, count); }) {
            local.PushBatch(held, count);
          } else {
            while (count > 0) local.Push(held[--count]);
          }
        }
        return tally;
      });
}

// What 65,536 objects cost beyond themselves, with state.range(0) made-up CPUs
// and after all were out once. Only for pools that keep nothing in an object.
template <typename Pool>
void Memory(benchmark::State& state) {
  constexpr size_t kCount = 65'536;
  std::vector<void*> objects(kCount);
  const long before = PrivateBytes();
  auto pool = std::make_unique<Pool>(kCount, kObjectSize,
                                     static_cast<int>(state.range(0)));
  for (auto _ : state) {
    Local<Pool> local(*pool);
    for (void*& object : objects) object = local.Pop();
    for (void* object : objects) local.Push(object);
  }
  state.counters["bytes_beyond_objects"] =
      static_cast<double>(PrivateBytes() - before);
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PLAIN_SCENARIOS_H_
