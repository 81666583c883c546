// SPDX-License-Identifier: Apache-2.0
// The pool beside what else one could use: SCENARIO/POOL/threads:N.
//
//   ideal  pop one object, push it; there are plenty
//   empty  ask for 16 objects, push back what came; there are 8 per thread, so
//          that half of all pops miss at best
//
// One iteration of either is one pop (and its push). Read the CPU column: ns
// per iteration and thread, not counting what other programs took; the Time
// column of Google Benchmark 1.7 is divided by the number of threads. `hits`
// and `misses` count pops. Threads are pinned, each to a CPU of its own while
// there are enough.
//
// For figures worth comparing, on a machine that does nothing else:
//   objpool_bench --benchmark_repetitions=10
//     --benchmark_enable_random_interleaving=true
//     --benchmark_report_aggregates_only=true
#include <benchmark/benchmark.h>
#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/cpu.h"
#include "baselines.h"
#include "objpool/objpool_hot.h"
#include "retprobe/objpool.h"

namespace retprobe::bench {
namespace {

constexpr size_t kObjectSize = 64;

void PinThread(int number) {
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    return set;
  }();
  number %= CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || number-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
    return;
  }
}

// `kInline`: the fast path as the trampoline has it, in the caller's code like
// the baselines'; else the library's functions.
template <ObjPool::Backend kBackend, bool kInline>
class Ours {
 public:
  Ours(size_t count, size_t size) {
    auto pool = ObjPool::Create(
        {.object_size = size, .object_count = count, .backend = kBackend});
    if (!pool.ok()) {
      std::fprintf(stderr, "%s\n",
                   std::string(pool.status().message()).c_str());
      std::exit(1);
    }
    pool_ = *std::move(pool);
    magazines_ = pool_->magazines();
  }
  void* Pop() {
    return kInline ? PoolCore::Pop(magazines_, RseqOffset()) : pool_->Pop();
  }
  void Push(void* object) {
    if (kInline) {
      PoolCore::Push(magazines_, object, RseqOffset());
    } else {
      pool_->Push(object);
    }
  }

 private:
  void* magazines_;
  std::unique_ptr<ObjPool> pool_;
};

void Report(benchmark::State& state, uint64_t hits, uint64_t misses) {
  state.counters["hits"] = static_cast<double>(hits);
  state.counters["misses"] = static_cast<double>(misses);
  state.SetItemsProcessed(state.iterations());
}

template <typename Pool>
void Ideal(benchmark::State& state) {
  static Pool* pool;
  PinThread(state.thread_index());
  // The loop begins when all threads have come to it, and ends likewise.
  if (state.thread_index() == 0) {
    pool = new Pool(64 * state.threads(), kObjectSize);
  }
  uint64_t misses = 0;
  for (auto _ : state) {
    void* object = pool->Pop();
    benchmark::DoNotOptimize(object);
    if (object != nullptr) {
      pool->Push(object);
    } else {
      ++misses;
    }
  }
  Report(state, state.iterations() - misses, misses);
  if (state.thread_index() == 0) delete pool;
}

template <typename Pool>
void Empty(benchmark::State& state) {
  static Pool* pool;
  constexpr int kWanted = 16;
  PinThread(state.thread_index());
  if (state.thread_index() == 0) {
    pool = new Pool(kWanted / 2 * state.threads(), kObjectSize);
  }
  void* held[kWanted];
  int count = 0;
  uint64_t misses = 0;
  int asked = 0;
  for (auto _ : state) {
    void* object = pool->Pop();
    benchmark::DoNotOptimize(object);
    if (object != nullptr) {
      held[count++] = object;
    } else {
      ++misses;
    }
    if (++asked == kWanted) {
      while (count > 0) pool->Push(held[--count]);
      asked = 0;
    }
  }
  // Not before the end of the loop has been seen by all.
  Report(state, state.iterations() - misses, misses);
  if (state.thread_index() == 0) delete pool;
}

template <typename Pool>
void Register(const std::string& name, bool can_be_empty = true) {
  benchmark::RegisterBenchmark(("ideal/" + name).c_str(), Ideal<Pool>)
      ->ThreadRange(1, 2);
  if (!can_be_empty) return;
  benchmark::RegisterBenchmark(("empty/" + name).c_str(), Empty<Pool>)
      ->ThreadRange(1, 2);
}

}  // namespace
}  // namespace retprobe::bench

int main(int argc, char** argv) {
  using namespace retprobe;         // NOLINT
  using namespace retprobe::bench;  // NOLINT
  Register<Ours<ObjPool::Backend::kAuto, true>>("objpool");
  Register<Ours<ObjPool::Backend::kAuto, false>>("objpool_call");
  Register<Ours<ObjPool::Backend::kCas, false>>("objpool_cas");
  Register<KernelRing>("kernel_ring");
  Register<bench::Freelist>("freelist");
  Register<PercpuFreelist>("percpu_freelist");
  Register<MutexPool>("mutex");
  Register<Malloc>("malloc", false);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
