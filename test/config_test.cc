// SPDX-License-Identifier: Apache-2.0
// Where a configuration comes from, and how it is put in force.
#include "retprobe/config.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "config/active.h"
#include "config/settings.h"
#include "config_texts.h"

namespace retprobe {
namespace {

size_t IndexOf(absl::string_view name) {
  return static_cast<size_t>(FindOption(name) - AllOptions().data());
}

// Each test begins and ends without a configuration.
class Clean {
 public:
  Clean() { Forget(); }
  ~Clean() { Forget(); }

 private:
  static void Forget() {
    unsetenv("RETPROBE_CONFIG");
    unsetenv("RETPROBE_OPTIONS");
    REQUIRE(ReplaceConfigSources({}).ok());
  }
};

TEST_CASE("A stronger source overrules a weaker one, key by key") {
  File file("[pool]\nobjects = 1\nmax_objects = 100\nbackend = 'cas'\n");
  const Settings settings =
      Settings::Load({.file = file.path(),
                      .environment = "pool.objects=2,pool.growth_chunk=2",
                      .program = {"pool.growth_chunk=3,pool.ring_capacity=30",
                                  "pool.ring_capacity=40"}});
  CHECK(settings.Errors() == Strings());
  const auto from = [&](absl::string_view name) {
    const Setting& setting = settings[IndexOf(name)];
    return absl::StrCat(ValueText(*FindOption(name), setting.value), " ",
                        OriginText(setting.origin));
  };
  CHECK(from("pool.objects") == "2 RETPROBE_OPTIONS");
  CHECK(from("pool.max_objects") == absl::StrCat("100 ", file.path(), ":3"));
  CHECK(from("pool.backend") == absl::StrCat("cas ", file.path(), ":4"));
  CHECK(from("pool.growth_chunk") == "3 SetConfigOptions");
  CHECK(from("pool.ring_capacity") == "40 SetConfigOptions");
  CHECK(from("pool.push_home") == "true default");
  CHECK(settings.OptionsText() ==
        "pool.objects=2,pool.max_objects=100,pool.growth_chunk=3,"
        "pool.ring_capacity=40,pool.backend=cas");
  CHECK(
      !Settings::Load({.file = file.path(), .environment = "pool.objects=auto"})
           .config()
           .pool.objects);
}

TEST_CASE("In a list the last value of a key counts, and spaces do not") {
  const Config config =
      Fine(" pool.objects=1 ,, pool.objects = 2 , probe.maxactive=3,");
  CHECK(config.pool.objects == 2);
  CHECK(config.probe.maxactive == 3);
}

TEST_CASE("What is set arrives again when it is passed on as options") {
  const char* all =
      "pool.objects=11,pool.max_objects=12,pool.growth_chunk=13,"
      "pool.magazine_capacity=14,pool.ring_capacity=15,"
      "pool.backend=percpu_freelist,pool.placement=node=3,pool.push_home=false,"
      "pool.huge_pages=true,probe.maxactive=16,probe.data_size_limit=17";
  CHECK(Settings::Load({.environment = all}).OptionsText() == all);
  CHECK(Settings().OptionsText().empty());
}

TEST_CASE("The environment is read once, and the program may add to it") {
  Clean clean;
  File file("[pool]\nobjects = 1\nmax_objects = 100\n");
  setenv("RETPROBE_CONFIG", file.path(), 1);
  setenv("RETPROBE_OPTIONS", "pool.growth_chunk=2", 1);
  REQUIRE(ReplaceConfigSources(ConfigSources::FromEnvironment()).ok());
  setenv("RETPROBE_OPTIONS", "pool.growth_chunk=3", 1);
  CHECK(ActiveConfig()->pool.objects == 1);
  CHECK(ActiveConfig()->pool.growth_chunk == 2);
  file.Write("no longer TOML");
  CHECK(SetConfigOptions("pool.growth_chunk=4").ok());
  CHECK(SetConfigOptions("pool.objects=5").ok());
  CHECK(ActiveConfig()->pool.growth_chunk == 4);
  CHECK(ActiveConfig()->pool.objects == 5);
  CHECK(ActiveConfig()->pool.max_objects == 100);
  CHECK(SetConfigFile("").ok());
  CHECK(!ActiveConfig()->pool.max_objects);
  CHECK(ActiveConfig()->pool.objects == 5);
}

TEST_CASE("Nothing is applied of a source that is wrong anywhere") {
  Clean clean;
  File good("[pool]\nobjects = 1\n");
  File bad("[pool]\nobjects = 2\nmax_objects = 0\n");
  REQUIRE(SetConfigFile(good.path()).ok());
  const absl::Status status = SetConfigFile(bad.path());
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(absl::StrContains(status.message(), ":3:15: pool.max_objects: 0 is"));
  CHECK(ActiveConfig()->pool.objects == 1);
  CHECK(!SetConfigOptions("pool.objects=3,pool.nothing=4").ok());
  CHECK(!SetConfigOptions("probe.maxactive=3,pool.max_objects=0").ok());
  CHECK(ActiveConfig()->pool.objects == 1);
  CHECK(ActiveConfig()->probe.maxactive == 0);
  CHECK(SetConfigOptions("probe.maxactive=3").ok());
  CHECK(ActiveConfig()->probe.maxactive == 3);
}

TEST_CASE("Threads that read while another sets see the old or the new") {
  Clean clean;
  REQUIRE(SetConfigOptions("pool.objects=1,pool.max_objects=1").ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 20000; ++i) {
        const PoolConfig pool = ActiveConfig()->pool;
        if (pool.objects != pool.max_objects) abort();
      }
    });
  }
  for (int n = 2; n < 100; ++n) {
    REQUIRE(SetConfigOptions(
                absl::StrCat("pool.objects=", n, ",pool.max_objects=", n))
                .ok());
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(ActiveConfig()->pool.objects == 99);
}

}  // namespace
}  // namespace retprobe
