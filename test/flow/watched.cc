// SPDX-License-Identifier: Apache-2.0
#include "flow/watched.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "probe/registry.h"
#include "retprobe/return_probe.h"

namespace retprobe::test {
namespace {

struct Counts {
  std::atomic<long> entered, returned, unwound, abandoned, declined;
  std::atomic<long> turn;
} g_counts;

std::vector<ReturnProbe> g_probes;

void CountEnd(EndReason reason) {
  switch (reason) {
    case EndReason::kReturned:
      ++g_counts.returned;
      break;
    case EndReason::kUnwound:
      ++g_counts.unwound;
      break;
    default:
      ++g_counts.abandoned;
  }
}

ReturnProbeOptions Options(bool entry) {
  ReturnProbeOptions options;
  options.data_size = 16;
  options.return_handler = [](ReturnContext& context) noexcept {
    CountEnd(context.reason());
  };
  if (entry) {
    options.entry_handler = [](EntryContext&) noexcept {
      ++g_counts.entered;
      return true;
    };
  }
  return options;
}

ReturnProbeOptions EveryOther() {
  ReturnProbeOptions options = Options(false);
  options.entry_handler = [](EntryContext&) noexcept {
    ++g_counts.entered;
    const bool accepted = ++g_counts.turn % 2 == 0;
    if (!accepted) ++g_counts.declined;
    return accepted;
  };
  return options;
}

void Attach(void* function, ReturnProbeOptions options) {
  absl::StatusOr<ReturnProbe> probe(absl::UnknownError(""));
  probe = ReturnProbe::Attach(function, std::move(options));
  if (!probe.ok()) {
    std::fprintf(stderr, "watch_start: %s\n",
                 probe.status().ToString().c_str());
    std::abort();
  }
  g_probes.push_back(*std::move(probe));
}

}  // namespace
}  // namespace retprobe::test

using namespace retprobe;
using namespace retprobe::test;

void watch_start(WatchKind kind, void* const* functions, size_t count) {
  g_counts.entered = g_counts.returned = g_counts.unwound = 0;
  g_counts.abandoned = g_counts.declined = g_counts.turn = 0;
  for (size_t i = 0; i < count; ++i) {
    switch (kind) {
      case kWatchBare:
        Attach(functions[i], {});
        break;
      case kWatchReturn:
        Attach(functions[i], Options(false));
        break;
      case kWatchSeveral:
        Attach(functions[i], Options(true));
        Attach(functions[i], EveryOther());
        [[fallthrough]];
      default:
        Attach(functions[i], Options(true));
    }
  }
}

Watched watch_look() {
  Watched watched = {.entered = g_counts.entered,
                     .returned = g_counts.returned,
                     .unwound = g_counts.unwound,
                     .abandoned = g_counts.abandoned,
                     .declined = g_counts.declined,
                     .missed = 0,
                     .out = Registry::Get().InstancesInUse()};
  for (const ReturnProbe& probe : g_probes) {
    watched.missed += static_cast<long>(probe.nmissed().total());
  }
  return watched;
}

Watched watch_stop() {
  const Watched watched = watch_look();
  g_probes.clear();
  return watched;
}
