// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_MODEL_H_
#define RETPROBE_BENCH_COHERENCE_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coherence/costs.h"
#include "coherence/machine.h"

namespace retprobe::bench {

enum class Scenario {
  kIdeal,    // pop one of plenty, push it: one operation
  kEmpty,    // all objects are held, every pop fails
  kOverrun,  // ask for 16, push back what came; there are 8 for each CPU
};
inline constexpr Scenario kScenarios[] = {Scenario::kIdeal, Scenario::kEmpty,
                                          Scenario::kOverrun};
const char* NameOf(Scenario scenario);

// A pool as the model sees it.
class ModelPool {
 public:
  virtual ~ModelPool() = default;
  virtual void* Pop() = 0;
  virtual void Push(void* object) = 0;
};

inline constexpr uint32_t kMeasuredCpus = 128;

struct PoolKind {
  const char* name;
  // Makes a pool of `objects` for all CPUs of the machine that `topology`
  // describes.
  std::unique_ptr<ModelPool> (*make)(const std::string& topology, uint32_t cpus,
                                     size_t objects);
  // What a pop and its push, and a pop that fails in a pool of kMeasuredCpus,
  // take on one CPU, measured. The part of it that is not access to memory
  // becomes work of every push and every failing pop.
  Picoseconds measured_pair;
  Picoseconds measured_miss;
  bool scans;  // a failing pop visits every CPU, so that its work grows
};

// All pools the model knows; ours with restartable sequences only where those
// work, although the model makes its own.
const std::vector<PoolKind>& PoolKinds();

// Null when there is none of that name.
const PoolKind* FindPoolKind(const std::string& name);

// What the model says of one pool in one scenario. Rates are per operation: of
// kIdeal a pop and its push, of the others a pop and, if it came to something,
// the push.
struct Prediction {
  uint64_t operations = 0;
  uint64_t hits = 0;
  double nanoseconds = 0;  // that a CPU is busy with an operation
  double mops = 0;         // million operations a second, all CPUs together
  double transfers = 0;
  double invalidations = 0;
  double upgrades = 0;
  double cold = 0;
};

struct Experiment {
  std::string topology;  // see Machine::Create
  Costs costs = kXeonCosts;
  uint32_t cpus = 1;          // at work; the pool serves the whole machine
  Picoseconds outside = 0;    // work between two operations
  bool break_caches = false;  // forget invalidations, for tests of the tests
};

// Requires: 1 <= experiment.cpus <= machine.cpus().
Prediction Predict(const PoolKind& kind, Scenario scenario,
                   const Machine& machine, const Experiment& experiment);

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_MODEL_H_
