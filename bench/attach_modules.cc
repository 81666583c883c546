// SPDX-License-Identifier: Apache-2.0
// Preloaded into any program: probes all functions of the loaded modules whose
// names match $RETPROBE_BENCH_MODULES, lets them go again, prints what it took,
// and ends the program before its main. See bench/attach_modules.py.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "private_bytes.h"
#include "retprobe/return_probe.h"
#include "symbols/symbols.h"

namespace {

using retprobe::EntryContext;
using retprobe::ReturnContext;
using retprobe::ReturnProbe;

retprobe::ReturnProbeOptions Options() {
  retprobe::ReturnProbeOptions options;
  options.entry_handler = [](EntryContext&) noexcept { return true; };
  options.return_handler = [](ReturnContext&) noexcept {};
  return options;
}

std::vector<void*> FunctionsOf(const retprobe::Pattern& pattern) {
  std::vector<void*> found;
  for (const retprobe::Module& module : retprobe::LoadedModules()) {
    if (!pattern.MatchesModule(module)) continue;
    auto functions = retprobe::ModuleFunctions(module);
    if (!functions.ok()) continue;
    for (retprobe::Function& function : *functions) {
      if (retprobe::Probeable(module, function).ok() &&
          retprobe::ResolveIndirect(&function).ok())
        found.push_back(reinterpret_cast<void*>(function.address));
    }
  }
  return found;
}

// Seconds since it was made: of the clock on the wall, and of this process.
class Stopwatch {
 public:
  double Wall() const { return Now(CLOCK_MONOTONIC) - wall_; }
  double Cpu() const { return Now(CLOCK_PROCESS_CPUTIME_ID) - cpu_; }

 private:
  static double Now(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) +
           1e-9 * static_cast<double>(time.tv_nsec);
  }
  double wall_ = Now(CLOCK_MONOTONIC);
  double cpu_ = Now(CLOCK_PROCESS_CPUTIME_ID);
};

// Prints the functions, those that are probed; seconds to attach, on the wall
// and of the CPU; to detach; bytes per probe, of our own and with the pages of
// code that are changed.
void Measure(const retprobe::Pattern& pattern) {
  // The first probe pays for what all share: the pool, the unwinder's tables.
  auto first = ReturnProbe::Attach("libc.so.6:getppid", Options());
  if (!first.ok()) return (void)std::puts(first.status().ToString().c_str());
  const std::vector<void*> functions = FunctionsOf(pattern);
  std::vector<ReturnProbe> probes;
  probes.reserve(functions.size());
  const long own = AnonymousBytes();
  const long all = PrivateBytes();
  std::optional<Stopwatch> stopwatch;
  double attach[2];
  {
    std::vector<ReturnProbe::Request> requests;
    for (void* function : functions) requests.push_back({function, Options()});
    stopwatch.emplace();
    auto attached = ReturnProbe::AttachAll(absl::MakeSpan(requests));
    attach[0] = stopwatch->Wall();
    attach[1] = stopwatch->Cpu();
    for (auto& probe : attached) {
      if (probe.ok()) probes.push_back(*std::move(probe));
    }
  }
  const auto count = static_cast<double>(probes.size());
  const auto more_own = static_cast<double>(AnonymousBytes() - own);
  const auto more = static_cast<double>(PrivateBytes() - all);
  stopwatch.emplace();
  ReturnProbe::DetachAll(absl::MakeSpan(probes));
  std::printf("%zu %.0f %f %f %f %f %.0f %.0f\n", functions.size(), count,
              attach[0], attach[1], stopwatch->Wall(), stopwatch->Cpu(),
              more_own / count, more / count);
}

[[gnu::constructor]] void Start() {
  const char* const wanted = std::getenv("RETPROBE_BENCH_MODULES");
  if (wanted == nullptr) return;
  const auto pattern = retprobe::Pattern::Parse(wanted + std::string(":*"));
  if (pattern.ok()) Measure(*pattern);
  std::fflush(stdout);
  _exit(pattern.ok() ? 0 : 2);
}

}  // namespace
