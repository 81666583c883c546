// SPDX-License-Identifier: Apache-2.0
// The pool beside what else one could use: SCENARIO/POOL/threads:N. README.md
// says what the scenarios are and how to take figures; pool_list.h what the
// pools are.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "migrate.h"
#include "plain_scenarios.h"
#include "pool_list.h"
#include "scenario.h"
#include "signals.h"
#include "starved.h"
#include "versions.h"

namespace retprobe::bench {
namespace {

using Function = void(benchmark::State&);

benchmark::internal::Benchmark* Add(const std::string& scenario,
                                    const std::string& pool,
                                    Function* function) {
  return benchmark::RegisterBenchmark((scenario + "/" + pool).c_str(),
                                      function);
}

// 1, 2, 4, ... and as many threads as there are CPUs, at least 2.
void UpToCpus(benchmark::internal::Benchmark* benchmark) {
  benchmark->ThreadRange(1, std::max(2, CpuCount()));
}

template <typename Pool>
void AddScenarios(const std::string& name, unsigned traits) {
  UpToCpus(Add("ideal", name, Ideal<Pool>));
  UpToCpus(Add("bulk", name, Bulk<Pool>));
  Add("migrate", name, Migrate<Pool>)->Threads(2);
  if (!(traits & kWaits)) {
    Add("oversubscribed", name, Ideal<Pool>)->Threads(4 * CpuCount());
  }
  if (traits & kSignalSafe) UpToCpus(Add("signals", name, Signals<Pool>::Run));
  if (traits & kUnlimited) return;
  UpToCpus(Add("empty", name, Empty<Pool>));
  UpToCpus(Add("overrun", name, Overrun<Pool>));
  auto* rate = Add("rate", name, Rate<Pool>)->ArgName("load_percent");
  for (int load : {50, 100, 150, 200, 400}) rate->Arg(load);
  UpToCpus(rate);
}

template <typename Pool>
void AddEmptyCpus(const std::string& name) {
  auto* empty = Add("empty_cpus", name, Empty<Pool, true>)->ArgName("cpus");
  for (int cpus : {2, 16, 64, 256}) empty->Arg(cpus);
  empty->Threads(1);
}

void AddAll() {
  VisitPools([](auto pool, const char* name, unsigned traits) {
    using Pool = typename decltype(pool)::type;
    AddScenarios<Pool>(name, traits);
    if constexpr (std::is_constructible_v<Pool, size_t, size_t, int>) {
      AddEmptyCpus<Pool>(name);
    }
  });
  Add("ideal", "word_alone", Ideal<WordAlone>)->Threads(1);
  Add("migrate", "handover_alone", Migrate<NoPool>)->Threads(2);
  VisitOurs([](auto pool, const char* name, unsigned) {
    using Pool = typename decltype(pool)::type;
    Add("memory", name, Memory<Pool>)->ArgName("cpus")->Arg(256)->Threads(1);
  });
  // The measure for empty_cpus: one list, however many CPUs there are.
  Add("empty_cpus", "freelist", Empty<Freelist<NativePolicy>>)->Threads(1);
}

// The program's defaults go in front of the user's flags, which win.
std::vector<char*> WithDefaults(int argc, char** argv) {
  static char interleave[] = "--benchmark_enable_random_interleaving=true";
  static char repetitions[] = "--benchmark_repetitions=10";
  std::vector<char*> words(argv, argv + argc);
  if (std::getenv("BENCHMARK_ENABLE_RANDOM_INTERLEAVING") == nullptr)
    words.insert(words.begin() + 1, interleave);
  if (std::getenv("BENCHMARK_REPETITIONS") == nullptr)
    words.insert(words.begin() + 1, repetitions);
  return words;
}

}  // namespace
}  // namespace retprobe::bench

int main(int argc, char** argv) {
  using namespace retprobe::bench;  // NOLINT
  AllowedCpus();
  AddContext();
  AddAll();
  std::vector<char*> words = WithDefaults(argc, argv);
  int count = static_cast<int>(words.size());
  words.push_back(nullptr);
  benchmark::Initialize(&count, words.data());
  if (benchmark::ReportUnrecognizedArguments(count, words.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
