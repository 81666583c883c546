// SPDX-License-Identifier: Apache-2.0
// What the command prints, from reports made by hand.
#include "cli/report.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "agent/histogram.h"
#include "cli/json.h"
#include "cli/options.h"

namespace retprobe::cli {
namespace {

FunctionReport Called(const std::string& name, uint64_t calls,
                      uint64_t duration) {
  FunctionReport function;
  function.module = "/lib/libc.so.6";
  function.name = name;
  function.state = session::FunctionState::kProbed;
  function.calls = calls;
  function.total = calls * duration;
  function.shortest = function.longest = duration;
  function.buckets.resize(histogram::kBuckets);
  function.buckets[histogram::BucketOf(duration)] = calls;
  return function;
}

TEST_CASE("Durations have three digits and a unit") {
  CHECK(HumanDuration(0) == "0 ns");
  CHECK(HumanDuration(999) == "999 ns");
  CHECK(HumanDuration(1000) == "1.00 us");
  CHECK(HumanDuration(9994) == "9.99 us");
  CHECK(HumanDuration(9996) == "10.0 us");
  CHECK(HumanDuration(99960) == "100 us");
  CHECK(HumanDuration(999600) == "1.00 ms");
  CHECK(HumanDuration(1234567890) == "1.23 s ");
  CHECK(HumanDuration(123456000000000) == "123456 s ");
}

TEST_CASE("The table is sorted by total time and aligned") {
  Report report;
  report.Add(Called("quick", 1234567, 10));
  report.Add(Called("slow", 2, 2000000000));
  report.Add(Called("never", 0, 0));
  FunctionReport refused;
  refused.module = "/lib/libc.so.6";
  refused.name = "vfork";
  report.Add(refused);
  const std::vector<std::string> lines =
      absl::StrSplit(RenderTable(report, 0), '\n');
  REQUIRE(lines.size() == 5);
  CHECK(lines[1].find("slow") != std::string::npos);
  CHECK(lines[2].find("1'234'567") == 0);
  const size_t column = lines[0].find("function");
  CHECK(lines[1].find("libc.so.6:slow") == column);
  CHECK(lines[2].find("libc.so.6:quick") == column);
  CHECK(lines[3] ==
        "1'234'569 calls, 0 missed; 3 functions probed, 2 of them called; 1 "
        "cannot be probed (retprobe list says why)");
}

TEST_CASE("Reports of the same function add up") {
  Report report;
  report.Add(Called("f", 10, 100));
  report.Add(Called("f", 30, 1000));
  const FunctionReport& sum = report.functions.begin()->second;
  CHECK(report.functions.size() == 1);
  CHECK(sum.calls == 40);
  CHECK(sum.shortest == 100);
  CHECK(sum.longest == 1000);
  CHECK(sum.mean() == 775);
  CHECK(sum.Percentile(25) <= 102);
  CHECK(sum.Percentile(50) >= 985);
}

TEST_CASE("JSON strings hold whatever a file name may hold") {
  CHECK(JsonString("plain") == "\"plain\"");
  CHECK(JsonString("a\"b\\c\n") == "\"a\\\"b\\\\c\\u000a\"");
  CHECK(JsonString("\xc3\xa4") == "\"\xc3\xa4\"");
  CHECK(JsonString("\xff\xc3") == "\"\\ufffd\\ufffd\"");
}

TEST_CASE("A program's own options are its own") {
  const auto options = ParseOptions(
      {"trace", "-emalloc", "--json", "prog", "-e", "x", "--", "--json"});
  REQUIRE(options.ok());
  CHECK(options->patterns == std::vector<std::string>{"malloc"});
  CHECK(options->program ==
        std::vector<std::string>{"prog", "-e", "x", "--", "--json"});
  const auto after = ParseOptions({"trace", "-e", "f", "--", "-odd"});
  REQUIRE(after.ok());
  CHECK(after->program == std::vector<std::string>{"-odd"});
  const auto list = ParseOptions({"list", "a", "-e", "b", "--", "p", "q"});
  REQUIRE(list.ok());
  CHECK(list->patterns == std::vector<std::string>{"a", "b"});
  CHECK_FALSE(ParseOptions({"trace", "-o", "", "-e", "f", "p"}).ok());
}

}  // namespace
}  // namespace retprobe::cli
