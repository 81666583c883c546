// SPDX-License-Identifier: Apache-2.0
#include "attach_many.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "many_functions.h"
#include "private_bytes.h"
#include "retprobe/return_probe.h"
#include "target.h"

namespace {

using retprobe::ReturnContext;
using retprobe::ReturnProbe;

retprobe::ReturnProbeOptions Options() {
  retprobe::ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {};
  return options;
}

}  // namespace

AttachResult AttachManyInChild() {
  AttachResult result;
  const std::string command =
      std::string("/proc/") + std::to_string(getpid()) + "/exe ";
  FILE* child = popen((command + kAttachArgument + " 2>&1").c_str(), "re");
  char line[512] = "";
  if (child == nullptr || std::fgets(line, sizeof(line), child) == nullptr ||
      std::sscanf(line, "%lf %lf", &result.seconds, &result.bytes_per_probe) !=
          2)
    result.error = std::string("attaching in a child failed: ") + line;
  if (child != nullptr && pclose(child) != 0 && result.error.empty())
    result.error = "the child that attached failed";
  return result;
}

int AttachMany() {
  // The first probe pays for what all share: the pool, the unwinder's tables.
  auto first =
      ReturnProbe::Attach(reinterpret_cast<void*>(TargetPlain), Options());
  if (!first.ok()) return std::puts(first.status().ToString().c_str()), 1;

  const absl::Span<void* const> functions = ManyFunctions();
  std::vector<absl::StatusOr<ReturnProbe>> probes;
  const long before = PrivateBytes();
  double seconds = 0;
  {
    std::vector<ReturnProbe::Request> requests;
    for (void* function : functions) requests.push_back({function, Options()});
    const auto start = std::chrono::steady_clock::now();
    probes = ReturnProbe::AttachAll(absl::MakeSpan(requests));
    seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
  }
  const long after = PrivateBytes();
  for (const auto& probe : probes) {
    if (!probe.ok()) return std::puts(probe.status().ToString().c_str()), 1;
  }
  std::printf("%f %f\n", seconds,
              static_cast<double>(after - before) / functions.size());
  return 0;
}
