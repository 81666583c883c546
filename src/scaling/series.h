// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_SERIES_H_
#define RETPROBE_SCALING_SERIES_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "scaling/fit.h"

namespace retprobe::scaling {

struct Series {
  std::string name;
  std::vector<Point> points;
};

struct Selection {
  std::vector<std::string> globs;  // of series; none: all
  std::string threads_column;      // of a CSV file; empty: found out
  std::set<std::string> names;     // those that Wants was asked for

  bool Wants(const std::string& name);
};

// Reads throughput by threads from a file's content; `file` is for messages.
// A series that is not wanted may hold anything.
//
// Errors: kInvalidArgument, beginning with FILE:LINE:COLUMN where there is one:
//   not such a file, a figure that is not one or not above 0; no such series.
absl::StatusOr<std::vector<Series>> ReadSeries(const std::string& file,
                                               absl::string_view content,
                                               Selection& selection);

// Google Benchmark's JSON: a series for each name without its "/threads:N", of
// items_per_second; the median where there are repetitions.
absl::StatusOr<std::vector<Series>> ReadBenchmark(const std::string& file,
                                                  absl::string_view content,
                                                  Selection& selection);

// Comma-separated values, '#' before comments, an empty cell where nothing was
// measured. Either a line for each number of threads and a column for each
// series, whose name is prefixed by the cells left of the number of threads; or
// a first line of numbers of threads, then a line for each series.
absl::StatusOr<std::vector<Series>> ReadTable(const std::string& file,
                                              absl::string_view content,
                                              Selection& selection);

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_SERIES_H_
