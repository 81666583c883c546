// SPDX-License-Identifier: Apache-2.0
// What pools would do on machines with many CPUs, by a model of their caches.
// Not a measurement: see coherence/README.md.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "coherence/machine.h"
#include "coherence/model.h"

namespace retprobe::bench {
namespace {

constexpr char kHelp[] =
    R"(usage: objpool_model [OPTION]...

Predicts by a model of cache coherence what object pools do on a machine with
many CPUs. The figures are the model's; nothing is measured.

  --topology=WHAT   the machine: in hwloc's synthetic notation, or the name of an
                    XML file (default "pack:2 numa:1 l3:1 core:32 pu:2", two
                    Xeons of 64 CPUs each)
  --costs=NAME      what transfers cost: xeon (default) or arm
  --cpus=LIST       how many CPUs are at work, as 1,2,64 (default: powers of two,
                    up to the machine's); the pool serves the whole machine
  --scenarios=LIST  of ideal, empty, overrun (default: all)
  --pools=LIST      (default: all)
                    POOLS
  --outside=NS      work between two operations, 0 .. 1000000 (default 0)
  --json            print JSON
  --help            print this

ns/op   how long a CPU is busy with an operation: in ideal a pop and its push, in
        the others a pop and, if it came to something, its push
Mops    million operations a second of all CPUs together
moves   cache lines that came from another CPU's cache, per operation
kills   copies that other CPUs lost, per operation

Exit status: 0, 1 (failure), 2 (usage).
)";

struct Options {
  Experiment experiment = {.topology = "pack:2 numa:1 l3:1 core:32 pu:2"};
  std::vector<uint32_t> cpus;
  std::vector<Scenario> scenarios;
  std::vector<const PoolKind*> pools;
  bool json = false;
  bool help = false;
};

absl::Status Refuse(absl::string_view option, absl::string_view value,
                    absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", option, "=", value, ": expected ", expected));
}

absl::StatusOr<std::string> TopologyFrom(const std::string& what) {
  if (!absl::EndsWith(what, ".xml")) return what;
  std::ifstream file(what);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) {
    return Refuse("topology", what, "an XML file that can be read");
  }
  return text.str();
}

absl::Status ParsePools(absl::string_view value, Options& options) {
  for (absl::string_view name : absl::StrSplit(value, ',')) {
    const PoolKind* kind = FindPoolKind(std::string(name));
    if (kind == nullptr) return Refuse("pools", value, "names from --help");
    options.pools.push_back(kind);
  }
  return absl::OkStatus();
}

absl::Status ParseScenarios(absl::string_view value, Options& options) {
  for (absl::string_view name : absl::StrSplit(value, ',')) {
    const size_t before = options.scenarios.size();
    for (Scenario scenario : kScenarios) {
      if (name == NameOf(scenario)) options.scenarios.push_back(scenario);
    }
    if (options.scenarios.size() == before) {
      return Refuse("scenarios", value, "some of ideal,empty,overrun");
    }
  }
  return absl::OkStatus();
}

absl::Status ParseCpus(absl::string_view value, Options& options) {
  for (absl::string_view number : absl::StrSplit(value, ',')) {
    uint32_t cpus;
    if (!absl::SimpleAtoi(number, &cpus) || cpus == 0) {
      return Refuse("cpus", value, "numbers from 1, as 1,2,64");
    }
    options.cpus.push_back(cpus);
  }
  return absl::OkStatus();
}

absl::Status ParseOption(absl::string_view argument, Options& options) {
  if (argument == "--json" || argument == "--help") {
    (argument == "--json" ? options.json : options.help) = true;
    return absl::OkStatus();
  }
  const std::pair<absl::string_view, absl::string_view> halves =
      absl::StrSplit(argument, absl::MaxSplits('=', 1));
  const auto& [name, value] = halves;
  if (name == "--cpus") return ParseCpus(value, options);
  if (name == "--pools") return ParsePools(value, options);
  if (name == "--scenarios") return ParseScenarios(value, options);
  if (name == "--topology") {
    auto topology = TopologyFrom(std::string(value));
    if (topology.ok()) options.experiment.topology = *std::move(topology);
    return topology.status();
  }
  if (name == "--costs") {
    if (value != "xeon" && value != "arm") {
      return Refuse("costs", value, "xeon or arm");
    }
    options.experiment.costs = value == "arm" ? kArmCosts : kXeonCosts;
    return absl::OkStatus();
  }
  if (name == "--outside") {
    uint32_t nanoseconds;
    if (!absl::SimpleAtoi(value, &nanoseconds) || nanoseconds > 1'000'000) {
      return Refuse("outside", value, "nanoseconds, 0 .. 1000000");
    }
    options.experiment.outside = nanoseconds * kNanosecond;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown option \"", argument, "\"; see --help"));
}

// Fills in what was not said.
absl::Status Complete(const Machine& machine, Options& options) {
  if (options.cpus.empty()) {
    for (uint32_t cpus = 1; cpus < machine.cpus(); cpus *= 2) {
      options.cpus.push_back(cpus);
    }
    options.cpus.push_back(machine.cpus());
  }
  if (options.scenarios.empty()) {
    options.scenarios.assign(std::begin(kScenarios), std::end(kScenarios));
  }
  if (options.pools.empty()) {
    for (const PoolKind& kind : PoolKinds()) options.pools.push_back(&kind);
  }
  for (uint32_t cpus : options.cpus) {
    if (cpus > machine.cpus()) {
      return Refuse("cpus", absl::StrCat(cpus),
                    absl::StrCat("at most the topology's ", machine.cpus()));
    }
  }
  return absl::OkStatus();
}

void PrintRow(const PoolKind& pool, Scenario scenario, uint32_t cpus,
              const Prediction& found) {
  std::printf("%-8s %-26s %4u %11.1f %11.2f %5.0f%% %9.3f %9.3f\n",
              NameOf(scenario), pool.name, cpus, found.nanoseconds, found.mops,
              100.0 * static_cast<double>(found.hits) /
                  static_cast<double>(found.operations),
              found.transfers, found.invalidations);
  std::fflush(stdout);
}

void PrintJson(const PoolKind& pool, Scenario scenario, uint32_t cpus,
               const Prediction& found, bool first) {
  std::printf(
      "%s\n    {\"scenario\": \"%s\", \"pool\": \"%s\", \"cpus\": %u, "
      "\"ns_per_operation\": %.3f, \"mops\": %.3f, \"operations\": %ju, "
      "\"hits\": %ju, \"transfers\": %.4f, \"invalidations\": %.4f, "
      "\"upgrades\": %.4f, \"cold\": %.4f}",
      first ? "" : ",", NameOf(scenario), pool.name, cpus, found.nanoseconds,
      found.mops, static_cast<uintmax_t>(found.operations),
      static_cast<uintmax_t>(found.hits), found.transfers, found.invalidations,
      found.upgrades, found.cold);
}

void Run(const Machine& machine, const Options& options) {
  Experiment experiment = options.experiment;
  if (options.json) {
    std::printf(
        "{\n  \"model\": true,\n  \"costs\": \"%s\",\n"
        "  \"machine_cpus\": %u,\n  \"predictions\": [",
        experiment.costs.name, machine.cpus());
  } else {
    std::printf("A MODEL's figures, not measured; %u CPUs, costs \"%s\"\n",
                machine.cpus(), experiment.costs.name);
    std::printf("%-8s %-26s %4s %11s %11s %6s %9s %9s\n", "scenario", "pool",
                "CPUs", "ns/op", "Mops", "hits", "moves/op", "kills/op");
  }
  bool first = true;
  for (Scenario scenario : options.scenarios) {
    for (const PoolKind* pool : options.pools) {
      for (uint32_t cpus : options.cpus) {
        experiment.cpus = cpus;
        const Prediction found = Predict(*pool, scenario, machine, experiment);
        if (options.json) {
          PrintJson(*pool, scenario, cpus, found, first);
        } else {
          PrintRow(*pool, scenario, cpus, found);
        }
        first = false;
      }
    }
  }
  if (options.json) std::printf("\n  ]\n}\n");
}

void PrintHelp() {
  std::string pools;
  for (const PoolKind& kind : PoolKinds()) {
    absl::StrAppend(&pools, pools.empty() ? "" : ",\n                    ",
                    kind.name);
  }
  std::string help = kHelp;
  help.replace(help.find("POOLS"), 5, pools);
  std::fputs(help.c_str(), stdout);
}

int Main(int argc, char** argv) {
  Options options;
  absl::Status status;
  for (int i = 1; i < argc && status.ok(); ++i) {
    status = ParseOption(argv[i], options);
  }
  if (status.ok() && options.help) {
    PrintHelp();
    return 0;
  }
  absl::StatusOr<Machine> machine =
      status.ok() ? Machine::Create(options.experiment.topology) : status;
  status = machine.ok() ? Complete(*machine, options) : machine.status();
  if (!status.ok()) {
    std::fprintf(stderr, "objpool_model: %s\n",
                 std::string(status.message()).c_str());
    return 2;
  }
  Run(*machine, options);
  return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace retprobe::bench

int main(int argc, char** argv) { return retprobe::bench::Main(argc, argv); }
