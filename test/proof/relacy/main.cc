// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string_view>
#include <vector>

#include "models.h"

// The pool's own headers under Relacy; see ../README.md.

namespace {

using retprobe::proof::ModelOf;
using retprobe::proof::Site;

constexpr char kUsage[] =
    "usage: relacy_models [--executions N] [--weaken FILE:LINE:ORDER:FAILURE]\n"
    "                     [--sites] [--trace] [MODEL]...\n"
    "\n"
    "Searches executions of the models (default: all) at random and says what\n"
    "was found. Models whose name begins with \"broken\" are negative "
    "controls,\n"
    "in which an error must be found.\n"
    "\n"
    "  --executions N  of each model, instead of its own number\n"
    "  --weaken        the access there has another order: 0 relaxed,\n"
    "                  2 acquire, 3 release, 4 acq_rel, 5 seq_cst\n"
    "  --sites         lists the ordered accesses that each model went "
    "through\n"
    "  --trace         shows the execution in which an error was found\n"
    "\n"
    "exit status: 0 as expected, 1 not, 2 usage\n";

std::vector<ModelOf> Models() {
  std::vector<ModelOf> all;
  for (const auto& models :
       {retprobe::proof::PartModels(), retprobe::proof::PoolModels(),
        retprobe::proof::DetachModels()}) {
    all.insert(all.end(), models.begin(), models.end());
  }
  return all;
}

bool ParseWeakening(const char* text) {
  retprobe::proof::Weakened& weakened = retprobe::proof::weakened;
  int order, failure;
  if (std::sscanf(text, "%63[^:]:%d:%d:%d", weakened.file, &weakened.line,
                  &order, &failure) != 4) {
    return false;
  }
  weakened.order = static_cast<std::memory_order>(order);
  weakened.failure = static_cast<std::memory_order>(failure);
  return true;
}

struct Arguments {
  unsigned executions = 0;
  bool sites = false;
  bool trace = false;
  std::vector<ModelOf> models;
};

bool Parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    } else if (argument == "--sites") {
      arguments.sites = true;
    } else if (argument == "--trace") {
      arguments.trace = true;
    } else if (argument == "--executions" && i + 1 < argc) {
      arguments.executions = std::strtoul(argv[++i], nullptr, 10);
    } else if (argument == "--weaken" && i + 1 < argc) {
      if (!ParseWeakening(argv[++i])) return false;
    } else {
      bool found = false;
      for (const ModelOf& model : Models()) {
        if (argument != model.name) continue;
        arguments.models.push_back(model);
        found = true;
      }
      if (!found) {
        std::fprintf(stderr,
                     "relacy_models: no model '%s'; there are:", argv[i]);
        for (const ModelOf& model : Models()) {
          std::fprintf(stderr, " %s", model.name);
        }
        std::fputc('\n', stderr);
        return false;
      }
    }
  }
  if (arguments.models.empty()) {
    arguments.models = Models();
  }
  return true;
}

// Returns whether the model did what its name promises.
bool Run(const ModelOf& model, const Arguments& arguments) {
  std::ostringstream out;
  rl::test_params params;
  params.iteration_count =
      arguments.executions != 0 ? arguments.executions : model.executions;
  params.execution_depth_limit = 20000;
  params.output_stream = arguments.trace ? &std::cout : &out;
  params.progress_stream = &out;
  params.output_history = !arguments.trace;  // or searches once more for it
  retprobe::proof::failure = nullptr;
  for (Site& site : retprobe::proof::sites) site = {};
  const bool fine = model.simulate(params);
  const bool broken = std::strncmp(model.name, "broken", 6) == 0;
  if (fine) {
    std::printf("%s: %u executions, no errors\n", model.name,
                static_cast<unsigned>(params.iteration_count));
  } else {
    std::printf("%s: execution %u: %s\n", model.name,
                static_cast<unsigned>(params.stop_iteration),
                retprobe::proof::failure == nullptr
                    ? rl::test_result_str(params.test_result)
                    : retprobe::proof::failure);
  }
  if (arguments.sites) {
    for (const Site& site : retprobe::proof::sites) {
      if (site.file == nullptr) continue;
      std::printf("site\t%s\t%s\t%d\t%s\t%d\t%d\n", model.name, site.file,
                  site.line, site.operation, static_cast<int>(site.order),
                  static_cast<int>(site.failure));
    }
  }
  return fine != broken;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, arguments)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  int passed = 0;
  int failed = 0;
  for (const ModelOf& model : arguments.models) {
    ++(Run(model, arguments) ? passed : failed);
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
