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
      std::sscanf(line, "%lf %lf %lf %lf", &result.seconds,
                  &result.bytes_per_probe, &result.detach_seconds,
                  &result.one_by_one_seconds) != 4)
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

  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const absl::Span<void* const> functions = ManyFunctions();
  std::vector<ReturnProbe> probes;
  probes.reserve(functions.size());
  double attach = 0;
  const auto attach_all = [&] {
    std::vector<ReturnProbe::Request> requests;
    for (void* function : functions) requests.push_back({function, Options()});
    const auto start = Clock::now();
    auto attached = ReturnProbe::AttachAll(absl::MakeSpan(requests));
    attach = since(start);
    for (auto& probe : attached) {
      if (!probe.ok()) return std::puts(probe.status().ToString().c_str()), 1;
      probes.push_back(*std::move(probe));
    }
    return 0;
  };
  const long before = PrivateBytes();
  if (attach_all() != 0) return 1;
  const double bytes = static_cast<double>(PrivateBytes() - before) /
                       static_cast<double>(functions.size());
  auto start = Clock::now();
  ReturnProbe::DetachAll(absl::MakeSpan(probes));
  const double detach = since(start);
  probes.clear();
  const double first_attach = attach;
  if (attach_all() != 0) return 1;
  start = Clock::now();
  probes.clear();
  std::printf("%f %f %f %f\n", first_attach, bytes, detach, since(start));
  return 0;
}
