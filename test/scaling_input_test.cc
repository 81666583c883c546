// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "scaling/analysis.h"
#include "scaling/axis.h"
#include "scaling/plot.h"
#include "scaling/report.h"
#include "scaling/series.h"

namespace retprobe::scaling {
namespace {

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<Series> Read(const std::string& content, Selection selection = {}) {
  auto series = ReadSeries("FILE", content, selection);
  REQUIRE_MESSAGE(series.ok(), series.status().ToString());
  return *series;
}

std::string ErrorOf(const std::string& content, Selection selection = {}) {
  const auto series = ReadSeries("FILE", content, selection);
  REQUIRE(!series.ok());
  return std::string(series.status().message());
}

// Points as "threads:throughput ...".
std::string Show(const Series& series) {
  std::string text = series.name + " =";
  for (const Point& point : series.points) {
    text += " " + Short(point.threads) + ":" + Short(point.throughput);
  }
  return text;
}

std::string Run(const std::string& name, const std::string& more) {
  return "{\"name\": \"" + name + "\", \"run_name\": \"" + name + "\", " +
         more + "}";
}

std::string Benchmarks(const std::string& runs) {
  return "{\"context\": {}, \"benchmarks\": [" + runs + "]}";
}

}  // namespace

TEST_CASE("a column for each series") {
  const auto series = Read(
      "# comment\n\nthreads, one ,\"two, \"\"quoted\"\"\"\r\n"
      "1,10,20\r\n  \n2,,40\n4,40.5,8e1");
  REQUIRE(series.size() == 2);
  CHECK(Show(series[0]) == "one = 1:10 4:40.5");
  CHECK(Show(series[1]) == "two, \"quoted\" = 1:20 2:40 4:80");
}

TEST_CASE("the column of threads may have another name, and labels before it") {
  CHECK(Show(Read("cpus,x\n1,5\n2,6\n")[0]) == "x = 1:5 2:6");
  const auto labelled = Read(
      "machine,bench,threads,pool\n"
      "a,ideal,1,5\na,ideal,2,6\nb,ideal,1,7\n");
  REQUIRE(labelled.size() == 2);
  CHECK(Show(labelled[0]) == "a/ideal/pool = 1:5 2:6");
  CHECK(Show(labelled[1]) == "b/ideal/pool = 1:7");
  Selection selection;
  selection.threads_column = "cores";
  CHECK(Show(Read("1st,cores,x\n7,1,5\n7,2,6\n", selection)[0]) ==
        "7/x = 1:5 2:6");
  CHECK(Contains(ErrorOf("a,b\n1,2\n", selection), "'cores'"));
  CHECK(Contains(ErrorOf("a,b\nx,y\n"), "--threads-column"));
}

TEST_CASE("a line for each series") {
  const auto series = Read(" ,1,2,4\nfl:384/0-1,5,6,7\nrs,8,,9\n");
  REQUIRE(series.size() == 2);
  CHECK(Show(series[0]) == "fl:384/0-1 = 1:5 2:6 4:7");
  CHECK(Show(series[1]) == "rs = 1:8 4:9");
}

TEST_CASE("what is wrong in a table is named with its place") {
  CHECK(Contains(ErrorOf("threads,x\n1,5\n2, six\n"), "FILE:3:3: 'six'"));
  CHECK(Contains(ErrorOf("threads,x\n1,5\n2,nan\n"), "FILE:3:3: "));
  CHECK(Contains(ErrorOf("threads,x\n1,0\n"), "FILE:2:3: a throughput of 0"));
  CHECK(Contains(ErrorOf("threads,x\n1,-5\n"), "above 0"));
  CHECK(Contains(ErrorOf("#\nthreads,x\n1.5,5\n"), "FILE:3:1: '1.5'"));
  CHECK(Contains(ErrorOf("threads,x\n0,5\n"), "FILE:2:1: '0'"));
  CHECK(Contains(ErrorOf("threads,x\n1,5,6\n"), "FILE:2:5: 3 cells"));
  CHECK(Contains(ErrorOf("threads,x\n1,\"5\n"), "FILE:2:3: no quote"));
  CHECK(Contains(ErrorOf("threads\n1\n"), "FILE:1:1: one column"));
  CHECK(Contains(ErrorOf("# nothing\n"), "no line"));
  CHECK(Contains(ErrorOf(" \n"), "empty"));
  CHECK(Contains(ErrorOf("threads,x\n"), "no series"));
  // Not of concern when it is not wanted.
  Selection selection;
  selection.globs = {"x"};
  CHECK(Read("threads,x,y\n1,5,0\n", selection).size() == 1);
}

TEST_CASE("series are chosen by globs, and a wrong one names what there is") {
  const std::string table = "threads,a/x,a/y,b/x\n1,5,6,7\n";
  Selection selection;
  selection.globs = {"a/*"};
  CHECK(Read(table, selection).size() == 2);
  selection.globs = {"*x"};
  CHECK(Read(table, selection).size() == 2);
  selection.globs = {"*x", "c"};
  CHECK(Contains(ErrorOf(table, selection), "'c'; there are a/x, a/y, b/x"));
}

TEST_CASE("items per second of Google Benchmark, the median of repetitions") {
  const std::string content = Benchmarks(
      Run("ideal/ours/threads:2",
          R"("run_type": "iteration", "threads": 2, "items_per_second": 9)") +
      "," +
      Run("ideal/ours/threads:1",
          R"("run_type": "iteration", "threads": 1, "items_per_second": 5)") +
      "," +
      Run("ideal/ours/threads:1",
          R"("run_type": "iteration", "threads": 1, "items_per_second": 4)") +
      "," +
      Run("ideal/ours/threads:1",
          R"("run_type": "iteration", "threads": 1, "items_per_second": 60)") +
      "," +
      Run("ideal/ours/threads:1",
          R"("run_type": "aggregate", "aggregate_name": "mean", "threads": 1,
             "items_per_second": 23)") +
      "," +
      Run("empty/theirs/threads:1/real_time",
          R"("run_type": "aggregate", "aggregate_name": "median",
             "threads": 1, "items_per_second": 3)") +
      "," + Run("failed/theirs/threads:1", R"("run_type": "iteration",
             "error_occurred": true, "error_message": "no")"));
  const auto series = Read(content);
  REQUIRE(series.size() == 2);
  CHECK(Show(series[0]) == "ideal/ours = 1:5 2:9");
  CHECK(Show(series[1]) == "empty/theirs/real_time = 1:3");
}

TEST_CASE("what is wrong in JSON is named with its place") {
  CHECK(Contains(ErrorOf("{\n \"benchmarks\": [,]}"), "FILE:2:17: not JSON"));
  CHECK(Contains(ErrorOf("{"), "FILE:1:"));
  CHECK(Contains(ErrorOf("{\"a\": 1}"), "\"benchmarks\""));
  CHECK(Contains(ErrorOf("[1]"), "\"benchmarks\""));
  CHECK(Contains(ErrorOf(Benchmarks("")), "no series"));
  CHECK(Contains(ErrorOf(Benchmarks(Run("a/threads:1", "\"threads\": 1"))),
                 "benchmarks[0] (a/threads:1): no number items_per_second"));
  CHECK(Contains(
      ErrorOf(Benchmarks(Run("a", "\"threads\": 1, \"items_per_second\": 0"))),
      "above 0"));
  CHECK(Contains(ErrorOf(Benchmarks("7")), "Google Benchmark"));
  CHECK(Contains(ErrorOf(Benchmarks("{\"name\": 7}")), "Google Benchmark"));
}

TEST_CASE("segments share no point, and what is beyond belongs to the last") {
  Series series = {.name = "s"};
  for (int n = 1; n <= 64; n *= 2) {
    series.points.push_back({double(n), n <= 8 ? 10.0 * n : 3.0 * n});
  }
  Question question = {.segments = {8, 64, 128}, .predict = {4, 32, 200}};
  const auto segments = Analyse(series, question);
  REQUIRE(segments.size() == 2);
  CHECK(segments[0].to == 8);
  CHECK(segments[0].fit().curve.g == doctest::Approx(10));
  REQUIRE(segments[0].predictions.size() == 1);
  CHECK(segments[0].predictions[0].throughput == doctest::Approx(40));
  CHECK(segments[1].from == 16);
  CHECK(segments[1].fit().curve.g == doctest::Approx(3).epsilon(1e-4));
  REQUIRE(segments[1].predictions.size() == 2);
  CHECK(Contains(segments[1].remarks.back(), "200 threads extrapolates"));
  // As one curve it fits badly, and that is said.
  const auto whole = Analyse(series, {.law = Law::kUsl});
  REQUIRE(whole.size() == 1);
  CHECK(whole[0].fit().rms_log > 0.2);
  REQUIRE(!whole[0].remarks.empty());
  CHECK(Contains(whole[0].remarks[0], "--segments"));
}

TEST_CASE("a series that cannot be fitted says so, and others still are") {
  const auto few = Analyse({"s", {{1, 5}, {2, 6}}}, {});
  REQUIRE(few.size() == 1);
  CHECK(Contains(few[0].error, "too few points"));
  const auto none = Analyse({"s", {}}, {});
  REQUIRE(none.size() == 1);
  CHECK(!none[0].error.empty());
  const std::string table = RenderTable({few[0]}, {});
  CHECK(Contains(table, "s (1-2):\n  not fitted: too few points"));
}

TEST_CASE("numbers are short") {
  CHECK(Short(0) == "0");
  CHECK(Short(999) == "999");
  CHECK(Short(999.6) == "1k");
  CHECK(Short(26.13e6) == "26.1M");
  CHECK(Short(-1234) == "-1.23k");
  CHECK(Short(5e20) == "5e+05P");
}

TEST_CASE("ticks are round and reach around what is drawn") {
  using Ticks = std::vector<double>;
  CHECK(LinearAxis(96).ticks == Ticks{0, 20, 40, 60, 80, 100});
  CHECK(LinearAxis(100).ticks.back() == 100);
  CHECK(PowersOfTwoAxis(1, 96).ticks.back() == 128);
  CHECK(PowersOfTwoAxis(1, 1).ticks == Ticks{1, 2});
  CHECK(PowersOfTwoAxis(3, 3).ticks == Ticks{2, 4});
  CHECK(DecimalLogAxis(3, 40).ticks == Ticks{2, 5, 10, 20, 50});
  CHECK(DecimalLogAxis(3, 3).ticks == Ticks{2, 5});
  CHECK(DecimalLogAxis(3, 4e3).ticks == Ticks{1, 10, 100, 1000, 10000});
  Axis axis = PowersOfTwoAxis(1, 4);
  axis.end = 100;
  CHECK(axis.Map(2) == doctest::Approx(50));
  CHECK(axis.Map(0) == 0);
  CHECK(axis.Map(1e9) == 100);
  axis = LinearAxis(100);
  axis.begin = 100;
  axis.end = 0;
  CHECK(axis.Map(25) == doctest::Approx(75));
}

TEST_CASE("a drawing holds each series once in its legend, and escapes it") {
  Series series = {.name = "<a> & \xff\x01\xc3\xa4"};
  for (int n = 1; n <= 64; n *= 2) series.points.push_back({double(n), 5. * n});
  const auto segments = Analyse(series, {.segments = {8}, .predict = {128}});
  for (const bool linear : {false, true}) {
    const std::string svg = RenderSvg(segments, linear);
    const size_t first = svg.find("&lt;a&gt; &amp; \xef\xbf\xbd\xef\xbf\xbd");
    REQUIRE(first != std::string::npos);
    CHECK(svg.find("&lt;a", first + 1) == std::string::npos);
    CHECK(Contains(svg, "\xc3\xa4 (amdahl)"));
    CHECK(Contains(svg, "stroke-dasharray"));
  }
}

}  // namespace retprobe::scaling
