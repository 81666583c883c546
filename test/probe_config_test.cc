// SPDX-License-Identifier: Apache-2.0
// Return probes obey the configuration. In this order: a process makes its
// pools once.
#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/cpu.h"
#include "config/active.h"
#include "config/option.h"
#include "objpool/options.h"
#include "probe/instance_pools.h"
#include "probe/registry.h"
#include "retprobe/config.h"
#include "retprobe/objpool.h"
#include "retprobe/return_probe.h"
#include "topology/topology.h"

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

// Whether the pool itself would take what the configuration has.
bool PoolTakes(const Config& config) {
  ObjPool::Options options;
  options.object_size = 1;
  options.object_count = config.pool.objects.value_or(1);
  options.max_objects = config.pool.max_objects.value_or(0);
  options.growth_chunk = config.pool.growth_chunk.value_or(0);
  options.magazine_capacity = config.pool.magazine_capacity.value_or(-1);
  options.ring_capacity = config.pool.ring_capacity.value_or(0);
  return CheckOptions(options, FlatTopology(2)).ok();
}

TEST_CASE("The table's ranges are the pool's") {
  for (const Option& option : AllOptions()) {
    if (option.kind != OptionKind::kNumber) continue;
    if (!absl::StartsWith(option.name, "pool.")) continue;
    CAPTURE(option.name);
    Config config;
    for (const uint64_t number : {option.low, option.high}) {
      if (option.name == absl::string_view("pool.objects") && number == 0) {
        config.pool.max_objects = 1;
      }
      option.apply({.number = number}, config);
      CHECK(PoolTakes(config));
      config = Config();
    }
    option.apply({.number = option.high + 1}, config);
    CHECK(!PoolTakes(config));
  }
  const ObjPool::Options pool;
  const PoolConfig config;
  CHECK(pool.push_home == config.push_home);
  CHECK(pool.huge_pages == config.huge_pages);
  CHECK(pool.node == config.node);
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

TEST_CASE("The pools of probes have every option of pools") {
  const auto pool_with = [](const char* options) {
    REQUIRE(ReplaceConfigSources({.program = {options}}).ok());
    InstancePools pools;
    const auto pool = pools.ForDataSize(0);
    if (!pool.ok()) return std::string(pool.status().message());
    return absl::StrCat((*pool)->created(), " of ", (*pool)->capacity(),
                        ", magazine ", (*pool)->magazine_capacity(),
                        ", backend ", static_cast<int>((*pool)->backend()));
  };
  CHECK(pool_with("pool.backend=cas,pool.objects=9,pool.max_objects=90,"
                  "pool.magazine_capacity=5,pool.growth_chunk=3,"
                  "pool.ring_capacity=8,pool.push_home=false,"
                  "pool.huge_pages=true,pool.placement=interleave") ==
        absl::StrCat("9 of 90, magazine 0, backend ",
                     static_cast<int>(ObjPool::Backend::kCas)));
  CHECK(pool_with("pool.backend=percpu_freelist,pool.max_objects=7") ==
        absl::StrCat("7 of 7, magazine 0, backend ",
                     static_cast<int>(ObjPool::Backend::kPercpuFreelist)));
  if (RseqAvailable()) {
    CHECK(pool_with("pool.backend=rseq,pool.objects=500,"
                    "pool.magazine_capacity=5") ==
          absl::StrCat("500 of 2097152, magazine 5, backend ",
                       static_cast<int>(ObjPool::Backend::kRseq)));
  }
  CHECK(absl::StartsWith(pool_with("pool.placement=node=1023"),
                         "ObjPool: node is 1023"));
  REQUIRE(ReplaceConfigSources({}).ok());
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
