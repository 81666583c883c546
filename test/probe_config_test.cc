// SPDX-License-Identifier: Apache-2.0
// Return probes obey the configuration. In this order: a process makes its
// pools once.
#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "config/active.h"
#include "probe/registry.h"
#include "retprobe/config.h"
#include "retprobe/return_probe.h"

extern "C" __attribute__((noinline, noclone)) long nested(long depth) {
  if (depth == 0) return 0;
  long below = nested(depth - 1);
  asm volatile("" : "+r"(below));  // no loop in its place
  return below + 1;
}

namespace retprobe {
namespace {

absl::StatusOr<ReturnProbe> Probe(int maxactive = 0, size_t data_size = 0) {
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {};
  options.maxactive = maxactive;
  options.data_size = data_size;
  return ReturnProbe::Attach(reinterpret_cast<void*>(&nested),
                             std::move(options));
}

// Calls that were missed of eight within one another.
uint64_t MissedOfEight(int maxactive) {
  auto probe = Probe(maxactive);
  REQUIRE(probe.ok());
  nested(7);
  return probe->nmissed().empty;
}

TEST_CASE("A wrong environment is told by every Attach, and probes nothing") {
  setenv("RETPROBE_OPTIONS", "pool.objectz=1", 1);
  for (int i = 0; i < 2; ++i) {
    const auto probe = Probe();
    CHECK(probe.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(probe.status().message() ==
          "RETPROBE_OPTIONS:1:1: pool.objectz: unknown key; the nearest is "
          "pool.objects");
  }
  CHECK(!SetConfigFile("").ok());
  CHECK(nested(3) == 3);
}

TEST_CASE("The pools of probes are as large as they are configured") {
  REQUIRE(
      ReplaceConfigSources({.program = {"pool.objects=3,pool.max_objects=5"}})
          .ok());
  auto probe = Probe();
  REQUIRE(probe.ok());
  CHECK(Registry::Get().Instances() == 3);
  nested(7);
  CHECK(probe->nmissed().empty == 3);
  CHECK(Registry::Get().Instances() == 5);
}

TEST_CASE("A probe without a maxactive of its own has the configured one") {
  REQUIRE(SetConfigOptions("probe.maxactive=2").ok());
  CHECK(MissedOfEight(0) == 6);
  CHECK(MissedOfEight(4) == 4);
  REQUIRE(SetConfigOptions("probe.maxactive=0").ok());
  CHECK(MissedOfEight(0) == 3);
}

TEST_CASE("The configured limit of data holds") {
  REQUIRE(SetConfigOptions("probe.data_size_limit=100").ok());
  CHECK(Probe(0, 100).ok());
  const absl::Status status = Probe(0, 101).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(absl::StrContains(status.message(), "probe.data_size_limit"));
  REQUIRE(SetConfigOptions("probe.data_size_limit=4096").ok());
  CHECK(Probe(0, 4096).ok());
}

}  // namespace
}  // namespace retprobe
