// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "scaling/series.h"

namespace retprobe::scaling {
namespace {

struct Cell {
  std::string text;
  int line = 0;
  int column = 0;  // of its first character
};
using Row = std::vector<Cell>;

absl::Status ErrorAt(const std::string& file, const Cell& cell,
                     absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(file, ":", cell.line, ":", cell.column, ": ", what));
}

// One cell at the front of `rest`, which loses it and the comma behind it.
// Quotes are doubled inside of quotes (RFC 4180). False: no end of quotes.
bool TakeCell(absl::string_view& rest, std::string& text) {
  size_t i = 0;
  if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(rest), "\"")) {
    for (i = rest.find('"') + 1;; ++i) {
      if (i >= rest.size()) return false;
      if (rest[i] == '"' && rest.substr(i + 1, 1) != "\"") break;
      text += rest[i];
      i += rest[i] == '"';
    }
    i = std::min(rest.find(',', i), rest.size());
  } else {
    i = std::min(rest.find(','), rest.size());
    text = std::string(absl::StripAsciiWhitespace(rest.substr(0, i)));
  }
  rest.remove_prefix(i);
  return true;
}

absl::StatusOr<std::vector<Row>> Split(const std::string& file,
                                       absl::string_view content) {
  std::vector<Row> rows;
  int number = 0;
  absl::ConsumePrefix(&content, "\xef\xbb\xbf");
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    absl::string_view rest = absl::StripTrailingAsciiWhitespace(line);
    if (rest.empty() || rest[0] == '#') continue;
    Row row;
    for (;;) {
      Cell cell = {.line = number};
      cell.column = static_cast<int>(rest.data() - line.data()) + 1;
      if (!TakeCell(rest, cell.text)) {
        return ErrorAt(file, cell, "no quote ends this cell");
      }
      row.push_back(std::move(cell));
      if (!absl::ConsumePrefix(&rest, ",")) break;
    }
    if (!rows.empty() && row.size() > rows[0].size()) {
      return ErrorAt(
          file, row[rows[0].size()],
          absl::StrCat(row.size(), " cells; the first line has ",
                       rows[0].size(), ", and this one cannot have more"));
    }
    if (!rows.empty()) row.resize(rows[0].size(), Cell{.line = number});
    rows.push_back(std::move(row));
  }
  return rows;
}

bool IsNumber(const Cell& cell) {
  double ignored;
  return absl::SimpleAtod(cell.text, &ignored);
}

absl::StatusOr<double> Threads(const std::string& file, const Cell& cell) {
  int threads;
  if (!absl::SimpleAtoi(cell.text, &threads) || threads < 1) {
    return ErrorAt(file, cell,
                   absl::StrCat("'", cell.text,
                                "' is not a number of threads (1, 2, ...)"));
  }
  return threads;
}

absl::StatusOr<double> Throughput(const std::string& file, const Cell& cell,
                                  const std::string& series) {
  double value;
  if (!absl::SimpleAtod(cell.text, &value) || !std::isfinite(value)) {
    return ErrorAt(
        file, cell,
        absl::StrCat("'", cell.text, "' is not a number (", series, ")"));
  }
  if (value <= 0) {
    return ErrorAt(file, cell,
                   absl::StrCat("a throughput of ", cell.text, " (", series,
                                "); it must be above 0. An empty cell or "
                                "--series leaves it out"));
  }
  return value;
}

// Adds a point, unless its cell is empty.
absl::Status Add(const std::string& file, const Cell& threads,
                 const Cell& throughput, Series& series) {
  if (throughput.text.empty()) return absl::OkStatus();
  const auto n = Threads(file, threads);
  if (!n.ok()) return n.status();
  const auto x = Throughput(file, throughput, series.name);
  if (!x.ok()) return x.status();
  series.points.push_back({*n, *x});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Series>> SeriesInRows(const std::string& file,
                                                 const std::vector<Row>& rows,
                                                 Selection& selection) {
  std::vector<Series> result;
  for (size_t i = 1; i < rows.size(); ++i) {
    const Row& row = rows[i];
    if (!selection.Wants(row[0].text)) continue;
    Series series = {.name = row[0].text};
    for (size_t k = 1; k < row.size(); ++k) {
      const absl::Status status = Add(file, rows[0][k], row[k], series);
      if (!status.ok()) return status;
    }
    result.push_back(std::move(series));
  }
  return result;
}

// Which column holds the numbers of threads.
absl::StatusOr<size_t> ThreadsColumn(const std::string& file,
                                     const std::vector<Row>& rows,
                                     const std::string& wanted) {
  const Row& header = rows[0];
  const auto named = [&](absl::string_view name) -> size_t {
    const auto found =
        std::find_if(header.begin(), header.end(),
                     [&](const Cell& cell) { return cell.text == name; });
    return static_cast<size_t>(found - header.begin());
  };
  size_t column = named(wanted.empty() ? "threads" : wanted);
  if (column < header.size()) return column;
  if (!wanted.empty()) {
    return ErrorAt(file, header[0],
                   absl::StrCat("no column is called '", wanted, "'"));
  }
  for (column = 0; column < header.size() && rows.size() > 1; ++column) {
    if (IsNumber(rows[1][column])) return column;
  }
  return ErrorAt(file, header[0],
                 "no column of numbers of threads: it is to be called "
                 "'threads', or named by --threads-column");
}

absl::StatusOr<std::vector<Series>> SeriesInColumns(
    const std::string& file, const std::vector<Row>& rows,
    Selection& selection) {
  const auto threads = ThreadsColumn(file, rows, selection.threads_column);
  if (!threads.ok()) return threads.status();
  std::vector<Series> result;
  for (size_t k = *threads + 1; k < rows[0].size(); ++k) {
    for (size_t i = 1; i < rows.size(); ++i) {
      std::string name;
      for (size_t label = 0; label < *threads; ++label) {
        absl::StrAppend(&name, rows[i][label].text, "/");
      }
      name += rows[0][k].text;
      if (!selection.Wants(name)) continue;
      auto series =
          std::find_if(result.begin(), result.end(),
                       [&](const Series& s) { return s.name == name; });
      if (series == result.end()) {
        series = result.insert(result.end(), {.name = name});
      }
      const absl::Status status =
          Add(file, rows[i][*threads], rows[i][k], *series);
      if (!status.ok()) return status;
    }
  }
  return result;
}

}  // namespace

absl::StatusOr<std::vector<Series>> ReadTable(const std::string& file,
                                              absl::string_view content,
                                              Selection& selection) {
  const auto rows = Split(file, content);
  if (!rows.ok()) return rows.status();
  if (rows->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": no line that is not a comment"));
  }
  const Row& header = rows->front();
  if (header.size() < 2) {
    return ErrorAt(file, header[0],
                   "one column; wanted are numbers of threads and, separated "
                   "by commas, throughput");
  }
  return std::all_of(header.begin() + 1, header.end(), IsNumber)
             ? SeriesInRows(file, *rows, selection)
             : SeriesInColumns(file, *rows, selection);
}

}  // namespace retprobe::scaling
