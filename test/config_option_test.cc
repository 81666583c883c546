// SPDX-License-Identifier: Apache-2.0
// The table of options, and what each may be set to.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "config/option.h"
#include "config/settings.h"
#include "config_texts.h"

namespace retprobe {
namespace {

TEST_CASE("Names in the table are unique, and their sections too") {
  std::set<std::string> names;
  for (const Option& option : AllOptions()) {
    CAPTURE(option.name);
    CHECK(names.insert(option.name).second);
    const Strings parts = absl::StrSplit(option.name, '.');
    CHECK(parts.size() == 2);
    CHECK(FindOption(option.name) == &option);
    CHECK(std::string(option.help).back() == '.');
    CHECK(absl::StrContains(option.unit, '\n') == false);
  }
  CHECK(FindOption("pool") == nullptr);
  CHECK(FindOption("") == nullptr);
}

TEST_CASE("Every option takes its default and its bounds, and nothing beyond") {
  const auto accepts = [](const Option& option, std::string text) {
    return ParseValue(option, Written::kBare, text).ok();
  };
  for (const Option& option : AllOptions()) {
    CAPTURE(option.name);
    CHECK(accepts(option, option.initial));
    CHECK(ValueText(option, InitialValue(option)) == option.initial);
    CHECK(!accepts(option, ""));
    CHECK(accepts(option, "no such thing") ==
          (option.kind == OptionKind::kPatterns));
    CHECK(!accepts(option, "a,b"));
    if (option.kind != OptionKind::kNumber) continue;
    CHECK(option.low < option.high);
    CHECK(option.high < uint64_t{1} << 32);
    CHECK(option.unit != std::string());
    CHECK(accepts(option, absl::StrCat(option.low)));
    CHECK(accepts(option, absl::StrCat(option.high)));
    CHECK(!accepts(option, absl::StrCat(option.high + 1)));
    if (option.low > 0) CHECK(!accepts(option, absl::StrCat(option.low - 1)));
    CHECK(!accepts(option, "-1"));
    CHECK(!accepts(option, "-0"));
    CHECK(!accepts(option, "99999999999999999999"));
    CHECK(accepts(option, "auto") == option.automatic);
  }
}

TEST_CASE("Every value of a choice or a bool is written as it is shown") {
  for (const Option& option : AllOptions()) {
    CAPTURE(option.name);
    Strings texts;
    if (option.kind == OptionKind::kBool) {
      texts = {"true", "false"};
    } else if (option.kind == OptionKind::kChoice) {
      for (absl::string_view choice : absl::StrSplit(option.choices, '|')) {
        if (!absl::ConsumeSuffix(&choice, "=N")) {
          texts.emplace_back(choice);
          continue;
        }
        for (uint64_t n : {option.low, option.high}) {
          texts.push_back(absl::StrCat(choice, "=", n));
        }
        for (const std::string& wrong :
             {std::string("N"), std::string(), std::string("-1"),
              absl::StrCat(option.high + 1)}) {
          CHECK(!ParseValue(option, Written::kString,
                            absl::StrCat(choice, "=", wrong))
                     .ok());
        }
        CHECK(!ParseValue(option, Written::kString, choice).ok());
      }
    }
    for (const std::string& text : texts) {
      CAPTURE(text);
      const auto value = ParseValue(option, Written::kBare, text);
      REQUIRE(value.ok());
      CHECK(ValueText(option, *value) == text);
      CHECK(!ParseValue(option, Written::kBare, text + "x").ok());
    }
  }
}

TEST_CASE("The defaults of the table are those of the structs") {
  const Config made = Settings().config();
  const Config declared;
  CHECK(!made.pool.objects);
  CHECK(!made.pool.max_objects);
  CHECK(!made.pool.growth_chunk);
  CHECK(!made.pool.magazine_capacity);
  CHECK(!made.pool.ring_capacity);
  CHECK(made.pool.backend == declared.pool.backend);
  CHECK(made.pool.placement == declared.pool.placement);
  CHECK(made.pool.node == declared.pool.node);
  CHECK(made.pool.push_home == declared.pool.push_home);
  CHECK(made.pool.huge_pages == declared.pool.huge_pages);
  CHECK(made.probe.maxactive == declared.probe.maxactive);
  CHECK(made.probe.data_size_limit == declared.probe.data_size_limit);
  CHECK(made.probe.blacklist == declared.probe.blacklist);
}

TEST_CASE("Every option arrives in its own place of the configuration") {
  const Config config = Fine(
      "pool.objects=11,pool.max_objects=12,pool.growth_chunk=13,"
      "pool.magazine_capacity=14,pool.ring_capacity=15,"
      "pool.backend=percpu_freelist,pool.placement=node=3,pool.push_home=false,"
      "pool.huge_pages=true,probe.maxactive=16,probe.data_size_limit=17,"
      "probe.blacklist=a;b:c*");
  CHECK(config.pool.objects == 11);
  CHECK(config.pool.max_objects == 12);
  CHECK(config.pool.growth_chunk == 13);
  CHECK(config.pool.magazine_capacity == 14);
  CHECK(config.pool.ring_capacity == 15);
  CHECK(config.pool.backend == PoolBackend::kPercpuFreelist);
  CHECK(config.pool.placement == PoolPlacement::kNode);
  CHECK(config.pool.node == 3);
  CHECK(!config.pool.push_home);
  CHECK(config.pool.huge_pages);
  CHECK(config.probe.maxactive == 16);
  CHECK(config.probe.data_size_limit == 17);
  CHECK(config.probe.blacklist == "a;b:c*");
  CHECK(Fine("pool.backend=rseq").pool.backend == PoolBackend::kRseq);
  CHECK(Fine("pool.backend=cas").pool.backend == PoolBackend::kCas);
  CHECK(Fine("pool.backend=freelist").pool.backend == PoolBackend::kFreelist);
  CHECK(Fine("pool.placement=interleave").pool.placement ==
        PoolPlacement::kInterleave);
}

TEST_CASE("Sizes are multiplied by their suffix, in files and in lists") {
  CHECK(Fine("pool.objects=64k").pool.objects == 65536);
  CHECK(Fine("pool.objects=64K").pool.objects == 65536);
  CHECK(Fine("pool.objects=1M").pool.objects == 1048576);
  CHECK(Fine("probe.maxactive=1G").probe.maxactive == 1 << 30);
  File file(
      "[pool]\nobjects = \"64k\"\nmax_objects = \"1M\"\n"
      "ring_capacity = 0x10\ngrowth_chunk = 1_000\n");
  const Config config = Settings::Load({.file = file.path()}).config();
  CHECK(config.pool.objects == 65536);
  CHECK(config.pool.max_objects == 1048576);
  CHECK(config.pool.ring_capacity == 16);
  CHECK(config.pool.growth_chunk == 1000);
  CHECK(OptionsErrors("pool.objects=k") ==
        Strings{"RETPROBE_OPTIONS:1:14: pool.objects: \"k\" is not a number; "
                "expected 0 .. 16777214 objects or auto"});
  for (const char* wrong : {"16M", "1G", "18014398509481984k", "1kk", "1.5k",
                            "k1", "1 k", "1T", "0x10", "+1"}) {
    CAPTURE(wrong);
    CHECK(OptionsErrors(absl::StrCat("pool.objects=", wrong)).size() == 1);
  }
}

TEST_CASE("A TOML file may write keys in every way that TOML knows") {
  for (const char* text :
       {"pool.objects = 7", "[pool]\nobjects = 7\n", "pool = { objects = 7 }",
        "\"pool\".'objects' = 7 # seven", "\xEF\xBB\xBF[pool]\r\nobjects=7"}) {
    CAPTURE(text);
    CHECK(ErrorsOf(text) == Strings());
    File file(text);
    CHECK(Settings::Load({.file = file.path()}).config().pool.objects == 7);
  }
  CHECK(ErrorsOf("") == Strings());
  CHECK(ErrorsOf("[pool]\n[probe]\n") == Strings());
}

}  // namespace
}  // namespace retprobe
