// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "scaling/series.h"

namespace retprobe::scaling {
namespace {

using Json = nlohmann::json;

constexpr char kMark[] = "/threads:";

// FILE:LINE:COLUMN of a byte.
std::string Place(const std::string& file, absl::string_view content,
                  size_t byte) {
  const absl::string_view before = content.substr(0, byte);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
  return absl::StrCat(file, ":", line, ":", before.size() - start + 1);
}

std::string WithoutThreads(const std::string& name) {
  const size_t mark = name.find(kMark);
  if (mark == std::string::npos) return name;
  const size_t end = name.find('/', mark + 1);
  return name.substr(0, mark) +
         (end == std::string::npos ? "" : name.substr(end));
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

// What was measured for one series and number of threads.
struct Samples {
  std::vector<double> values;  // of single repetitions
  double median = 0;           // from an aggregate; 0: none
};

// The runs of one file, as far as they are wanted, in their order.
class Runs {
 public:
  Runs(const std::string& file, Selection& selection)
      : file_(file), selection_(selection) {}

  absl::Status Add(const Json& run, size_t index) {
    const std::string full = run.value("run_name", run.value("name", ""));
    const std::string name = WithoutThreads(full);
    const bool single = run.value("run_type", "iteration") == "iteration";
    const bool median = run.value("aggregate_name", "") == "median";
    if (name.empty() || !selection_.Wants(name) || !(single || median) ||
        run.value("error_occurred", false)) {
      return absl::OkStatus();
    }
    const std::string where =
        absl::StrCat(file_, ": benchmarks[", index, "] (", full, "): ");
    const auto rate = run.find("items_per_second");
    if (rate == run.end() || !rate->is_number()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where,
                       "no number items_per_second; the benchmark is "
                       "to call SetItemsProcessed"));
    }
    const double value = rate->get<double>();
    const int threads = run.value("threads", 1);
    if (!(value > 0) || !std::isfinite(value) || threads < 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, "items_per_second is ", value, " with ", threads,
          " threads; both must be above 0. --series leaves others out"));
    }
    if (samples_.count(name) == 0) names_.push_back(name);
    Samples& samples = samples_[name][threads];
    if (single) {
      samples.values.push_back(value);
    } else {
      samples.median = value;
    }
    return absl::OkStatus();
  }

  std::vector<Series> series() const {
    std::vector<Series> result;
    for (const std::string& name : names_) {
      Series series = {.name = name};
      for (const auto& [threads, samples] : samples_.at(name)) {
        series.points.push_back(
            {static_cast<double>(threads),
             samples.values.empty() ? samples.median : Median(samples.values)});
      }
      result.push_back(std::move(series));
    }
    return result;
  }

 private:
  const std::string& file_;
  Selection& selection_;
  std::vector<std::string> names_;
  std::map<std::string, std::map<int, Samples>> samples_;
};

}  // namespace

absl::StatusOr<std::vector<Series>> ReadBenchmark(const std::string& file,
                                                  absl::string_view content,
                                                  Selection& selection) {
  try {
    const Json json = Json::parse(content);
    const auto list = json.find("benchmarks");
    if (!json.is_object() || list == json.end() || !list->is_array()) {
      return absl::InvalidArgumentError(absl::StrCat(
          file,
          ": no list \"benchmarks\", as Google Benchmark writes it with "
          "--benchmark_out=FILE"));
    }
    Runs runs(file, selection);
    for (size_t i = 0; i < list->size(); ++i) {
      const absl::Status status = runs.Add((*list)[i], i);
      if (!status.ok()) return status;
    }
    return runs.series();
  } catch (const Json::parse_error& error) {
    const std::vector<std::string> parts =
        absl::StrSplit(error.what(), absl::MaxSplits(": ", 1));
    return absl::InvalidArgumentError(
        absl::StrCat(Place(file, content, error.byte == 0 ? 0 : error.byte - 1),
                     ": not JSON: ", parts.back()));
  } catch (const Json::exception& error) {  // a name that is a number, ...
    return absl::InvalidArgumentError(absl::StrCat(
        file, ": not as Google Benchmark writes it: ", error.what()));
  }
}

}  // namespace retprobe::scaling
