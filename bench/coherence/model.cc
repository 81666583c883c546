// SPDX-License-Identifier: Apache-2.0
#include "coherence/model.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "coherence/simulator.h"

namespace retprobe::bench {
namespace {

constexpr int kWanted = 16;
constexpr size_t kObjectsPerCpu = 8;

// A phase may be cut short after so many accesses.
constexpr uint64_t kPatience = 300'000;

// Failing pops of one CPU before those that count.
constexpr int kLearning = 64;

// In overrun: what the work between operations varies by, so that CPUs do not
// stay in step as no real ones would.
constexpr Picoseconds kJitter = 10 * kNanosecond;

struct Work {
  Picoseconds push = 0;
  Picoseconds miss = 0;
};

// One pool on one machine.
class Trial {
 public:
  Trial(const PoolKind& kind, Scenario scenario, const Machine& machine,
        const Experiment& experiment, Work work)
      : scenario_(scenario),
        experiment_(experiment),
        work_(work),
        simulator_(machine, experiment_.costs),
        pool_(kind.make(experiment.topology, machine.cpus(),
                        Objects(scenario, machine, experiment))),
        cpus_(machine.fill_order().begin(),
              machine.fill_order().begin() + experiment.cpus) {
    simulator_.directory().forget_invalidations = experiment.break_caches;
  }

  Prediction Run() {
    if (scenario_ == Scenario::kEmpty) TakeAll();
    const uint64_t rounds = scenario_ == Scenario::kIdeal   ? 64
                            : scenario_ == Scenario::kEmpty ? 8
                                                            : 6 * kWanted;
    Phase(rounds);
    simulator_.directory().traffic = {};
    return Phase(rounds);
  }

 private:
  static size_t Objects(Scenario scenario, const Machine& machine,
                        const Experiment& experiment) {
    if (scenario == Scenario::kEmpty) return machine.cpus();
    if (scenario == Scenario::kIdeal) return machine.cpus() * kObjectsPerCpu;
    return experiment.cpus * kObjectsPerCpu;
  }

  // Everybody takes what there is and puts it away where he is; then they take
  // it all again, and keep it. A pool that does not look everywhere each time
  // may have to learn that it is empty.
  void TakeAll() {
    simulator_.Run(cpus_, [this](uint32_t) {
      std::vector<void*> held;
      while (void* object = pool_->Pop()) held.push_back(object);
      for (void* object : held) pool_->Push(object);
    });
    simulator_.Run(cpus_, [this](uint32_t) {
      while (pool_->Pop() != nullptr) {
      }
    });
    simulator_.Run({cpus_[0]}, [this](uint32_t) {
      for (int i = 0; i < kLearning; ++i) pool_->Pop();
    });
  }

  // Runs until the CPUs have done `each` operations on average, or fewer when
  // those are more accesses than kPatience, but not too few.
  Prediction Phase(uint64_t each) {
    Prediction result;
    bool over = false;
    const Picoseconds begin = simulator_.end();
    const uint64_t patience = simulator_.accesses() + kPatience;
    const uint64_t fewest = scenario_ == Scenario::kOverrun ? 2 * kWanted : 3;
    simulator_.Run(cpus_, [&](uint32_t) {
      Loop([&](bool hit) {
        if (over) return false;
        result.hits += hit ? 1 : 0;
        ++result.operations;
        // Whole turns: CPUs in step finish all together.
        const uint64_t turns = result.operations % cpus_.size() == 0
                                   ? result.operations / cpus_.size()
                                   : 0;
        over = turns >= each ||
               (simulator_.accesses() > patience && turns >= fewest);
        if (over) Conclude(begin, result);
        return !over;
      });
    });
    return result;
  }

  void Conclude(Picoseconds begin, Prediction& result) {
    const auto operations = static_cast<double>(result.operations);
    const auto nanoseconds =
        static_cast<double>(simulator_.now() - begin) / kNanosecond;
    result.nanoseconds =
        nanoseconds * static_cast<double>(cpus_.size()) / operations;
    result.mops = operations / nanoseconds * 1000;
    const Traffic& traffic = simulator_.directory().traffic;
    result.transfers = static_cast<double>(traffic.transfers) / operations;
    result.invalidations =
        static_cast<double>(traffic.invalidations) / operations;
    result.upgrades = static_cast<double>(traffic.upgrades) / operations;
    result.cold = static_cast<double>(traffic.cold) / operations;
  }

  Picoseconds Outside() {
    return experiment_.outside +
           (scenario_ == Scenario::kOverrun ? simulator_.Random(kJitter) : 0);
  }

  void Push(void* object) {
    pool_->Push(object);
    simulator_.Work(work_.push);
  }

  // One CPU's. `done(hit)`: after each operation; whether to go on.
  template <typename Done>
  void Loop(Done&& done) {
    void* held[kWanted];
    const int wanted = scenario_ == Scenario::kOverrun ? kWanted : 1;
    bool go_on = true;
    while (go_on) {
      int count = 0;
      for (int asked = 0; asked < wanted && go_on; ++asked) {
        simulator_.Work(Outside());
        void* object = pool_->Pop();
        if (object != nullptr) {
          held[count++] = object;
        } else {
          simulator_.Work(work_.miss);
        }
        if (wanted == 1 && count == 1) Push(held[--count]);
        go_on = done(object != nullptr);
      }
      while (count > 0) Push(held[--count]);
    }
  }

  const Scenario scenario_;
  const Experiment experiment_;
  const Work work_;
  Simulator simulator_;
  std::unique_ptr<ModelPool> pool_;
  std::vector<uint32_t> cpus_;
};

// What of a measured time is not access to memory. Measured on a Xeon, whatever
// the machine of the experiment.
Picoseconds WorkOf(const PoolKind& kind, Scenario scenario,
                   const std::string& topology, Picoseconds measured) {
  const Experiment alone{.topology = topology};
  const absl::StatusOr<Machine> machine = Machine::Create(topology);
  const Prediction plain = Trial(kind, scenario, *machine, alone, {}).Run();
  const auto modelled =
      static_cast<Picoseconds>(plain.nanoseconds * kNanosecond);
  return measured > modelled ? measured - modelled : 0;
}

Work Calibrate(const PoolKind& kind, const Machine& machine) {
  static std::map<std::string, Work> known;
  const auto [found, fresh] = known.try_emplace(kind.name);
  if (fresh) {
    const std::string many = absl::StrCat("pu:", kMeasuredCpus);
    found->second = {
        .push = WorkOf(kind, Scenario::kIdeal, "pu:1", kind.measured_pair),
        .miss = WorkOf(kind, Scenario::kEmpty, many, kind.measured_miss)};
  }
  Work work = found->second;
  if (kind.scans) work.miss = work.miss * machine.cpus() / kMeasuredCpus;
  return work;
}

}  // namespace

const char* NameOf(Scenario scenario) {
  switch (scenario) {
    case Scenario::kIdeal:
      return "ideal";
    case Scenario::kEmpty:
      return "empty";
    case Scenario::kOverrun:
      return "overrun";
  }
  return "";
}

Prediction Predict(const PoolKind& kind, Scenario scenario,
                   const Machine& machine, const Experiment& experiment) {
  return Trial(kind, scenario, machine, experiment, Calibrate(kind, machine))
      .Run();
}

}  // namespace retprobe::bench
