// SPDX-License-Identifier: Apache-2.0
// Everything that can be wrong with a configuration.
#include <doctest/doctest.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "config/settings.h"
#include "config_texts.h"

namespace retprobe {
namespace {

TEST_CASE("An unknown key is told with its place and the nearest known one") {
  CHECK(ErrorsOf("[pool]\n\n  max_object = 5\n") ==
        Strings{"3:3: pool.max_object: unknown key; the nearest is "
                "pool.max_objects"});
  CHECK(ErrorsOf("objects = 5") ==
        Strings{"1:1: objects: unknown key; the nearest is pool.objects"});
  CHECK(ErrorsOf("[pool]\nfoo_bar_baz = 5") ==
        Strings{"2:1: pool.foo_bar_baz: unknown key; retprobe config --list "
                "shows all"});
  CHECK(ErrorsOf("\"pool.objects\" = 5") ==
        Strings{"1:1: \"pool.objects\": unknown key; the nearest is "
                "pool.objects"});
  CHECK(ErrorsOf("[polo]\nobjects = 5") ==
        Strings{"1:2: polo: unknown section; expected [pool] or [probe]"});
  CHECK(ErrorsOf("[pool.more]\nobjects = 5").size() == 1);
  CHECK(ErrorsOf("[[array]]\nobjects = 5").size() == 1);
  CHECK(OptionsErrors("pool.objects=5, pool.bakcend=cas") ==
        Strings{"RETPROBE_OPTIONS:1:17: pool.bakcend: unknown key; the nearest "
                "is pool.backend"});
  CHECK(OptionsErrors("=5").size() == 1);
  CHECK(OptionsErrors("pool.objects\n=5") == Strings());
  CHECK(OptionsErrors("a\nb=5") ==
        Strings{"RETPROBE_OPTIONS:1:1: a\\nb: unknown key; retprobe config "
                "--list shows all"});
}

TEST_CASE("A value of the wrong type is told with its place and what may be") {
  const std::string count = "expected 0 .. 16777214 objects or auto";
  CHECK(ErrorsOf("[pool]\nobjects = true") ==
        Strings{"2:11: pool.objects: is a boolean; " + count});
  CHECK(ErrorsOf("[pool]\nobjects = 1.5") ==
        Strings{"2:11: pool.objects: is a number with a fraction; " + count});
  CHECK(ErrorsOf("[pool]\nobjects = [1]") ==
        Strings{"2:11: pool.objects: is an array; " + count});
  CHECK(ErrorsOf("[pool]\nobjects = 2024-01-01") ==
        Strings{"2:11: pool.objects: is a date or time; " + count});
  CHECK(ErrorsOf("[pool.objects]\n").size() == 1);
  CHECK(ErrorsOf("[pool]\nobjects = \"many\"") ==
        Strings{"2:11: pool.objects: \"many\" is not a number; " + count});
  CHECK(ErrorsOf("[pool]\npush_home = 1") ==
        Strings{"2:13: pool.push_home: is an integer; expected true or false"});
  CHECK(ErrorsOf("[pool]\npush_home = \"true\"") ==
        Strings{"2:13: pool.push_home: is a string; expected true or false"});
  CHECK(ErrorsOf("[pool]\nbackend = 2") ==
        Strings{"2:11: pool.backend: is an integer; expected auto, rseq, cas, "
                "percpu_freelist or freelist"});
  CHECK(ErrorsOf("pool = 3") ==
        Strings{"1:8: pool: is an integer; expected the section [pool]"});
  CHECK(OptionsErrors("pool.push_home=yes") ==
        Strings{"RETPROBE_OPTIONS:1:16: pool.push_home: \"yes\" is neither; "
                "expected true or false"});
  CHECK(OptionsErrors("pool.push_home") ==
        Strings{"RETPROBE_OPTIONS:1:1: pool.push_home: has no value; expected "
                "KEY=VALUE"});
}

TEST_CASE("A value that cannot be is told with its place and what may be") {
  CHECK(ErrorsOf("[pool]\nobjects = 16777215") ==
        Strings{"2:11: pool.objects: 16777215 is out of range; expected 0 .. "
                "16777214 objects or auto"});
  CHECK(ErrorsOf("[pool]\nobjects = -1") ==
        Strings{"2:11: pool.objects: -1 is out of range; expected 0 .. "
                "16777214 objects or auto"});
  CHECK(ErrorsOf("[probe]\n\ndata_size_limit = \"1G\"") ==
        Strings{"3:19: probe.data_size_limit: \"1G\" is out of range; expected "
                "0 .. 1073737728 bytes"});
  CHECK(ErrorsOf("[probe]\nmaxactive = \"auto\"") ==
        Strings{"2:13: probe.maxactive: \"auto\" is not a number; expected 0 "
                ".. 2147483647 calls"});
  CHECK(ErrorsOf("[pool]\nbackend = \"rsec\"") ==
        Strings{"2:11: pool.backend: \"rsec\" is not possible; expected auto, "
                "rseq, cas, percpu_freelist or freelist"});
  CHECK(ErrorsOf("[pool]\nplacement = \"node=1024\"") ==
        Strings{"2:13: pool.placement: \"node=1024\" is out of range; expected "
                "local, interleave or node=N, N in 0 .. 1023"});
}

TEST_CASE("A syntax error is told with its place") {
  struct Wrong {
    absl::string_view text;
    absl::string_view begin;  // what exactly toml++ says of it is its own
  };
  for (const Wrong& wrong :
       {Wrong{"[pool]\nobjects = \n", "2:11: syntax error in "},
        Wrong{"[pool\nobjects = 1\n", "1:6: syntax error in "},
        Wrong{"[pool]\nobjects = 1\nobjects = 2\n", "3:11: syntax error in "},
        Wrong{"[pool]\nobjects 1", "2:9: syntax error in "},
        Wrong{"[pool]\nobjects = 99999999999999999999",
              "2:31: syntax error in "},
        Wrong{"[,pool]\nobjects = 1", "1:2: syntax error in "},
        Wrong{"[pool]\npush_home = tru\n", "2:16: syntax error in "},
        Wrong{"[pool]\nbackend = \"\xff\"", "2:11: syntax error: "}}) {
    CAPTURE(wrong.text);
    const Strings errors = ErrorsOf(wrong.text);
    REQUIRE(errors.size() == 1);
    CHECK(absl::StartsWith(errors[0], wrong.begin));
    CHECK(!absl::StrContains(errors[0], '\n'));
  }
}

TEST_CASE("A file that cannot be read is told with the reason") {
  CHECK(Settings::Load({.file = "/no/such.toml"}).Errors() ==
        Strings{"/no/such.toml: cannot be read (No such file or directory); "
                "expected a TOML file"});
  CHECK(Settings::Load({.file = "/tmp"}).Errors() ==
        Strings{"/tmp: cannot be read (Is a directory); expected a TOML file"});
  CHECK(Settings::Load({.file = "/dev/zero"}).Errors() ==
        Strings{"/dev/zero: cannot be read (it is larger than 1 MiB); expected "
                "a TOML file"});
}

TEST_CASE("All errors are told, in the order of the text") {
  CHECK(ErrorsOf("[probe]\nmaxactive = -1\n[pool]\nzzzzzzzzzz = 1\n"
                 "objects = true\n") ==
        Strings{"2:13: probe.maxactive: -1 is out of range; expected 0 .. "
                "2147483647 calls",
                "4:1: pool.zzzzzzzzzz: unknown key; retprobe config --list "
                "shows all",
                "5:11: pool.objects: is a boolean; expected 0 .. 16777214 "
                "objects or auto"});
  const absl::Status status =
      Settings::Load({.environment = "x=1,pool.objects=x"}).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message() ==
        "RETPROBE_OPTIONS:1:1: x: unknown key; retprobe config --list shows "
        "all (and 1 more)");
}

TEST_CASE("Options that do not go together are told with both places") {
  CHECK(ErrorsOf("[pool]\nobjects = 20\nmax_objects = 10\n")[0].substr(0, 66) ==
        "3:15: pool.max_objects: 10 is below pool.objects, which is 20 (/tm");
  File file("[pool]\nmax_objects = 10\n");
  CHECK(Settings::Load({.file = file.path(), .environment = "pool.objects=11"})
            .Errors() ==
        Strings{absl::StrCat(file.path(),
                             ":2:15: pool.max_objects: 10 is below "
                             "pool.objects, which is 11 (RETPROBE_OPTIONS); "
                             "expected at least as many")});
  CHECK(OptionsErrors("pool.objects=10,pool.max_objects=10") == Strings());
  CHECK(OptionsErrors("pool.objects=10,pool.max_objects=9").size() == 1);
  CHECK(OptionsErrors("pool.objects=10,pool.max_objects=auto") == Strings());
}

}  // namespace
}  // namespace retprobe
