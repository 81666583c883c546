// SPDX-License-Identifier: Apache-2.0
// The program behind `retprobe usl`.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/output.h"
#include "scaling/analysis.h"
#include "scaling/options.h"
#include "scaling/packages.h"
#include "scaling/plot.h"
#include "scaling/report.h"
#include "scaling/series.h"

namespace retprobe::scaling {
namespace {

absl::Status SystemError(const std::string& file) {
  return absl::FailedPreconditionError(
      absl::StrCat(file, ": ", strerror(errno)));
}

absl::StatusOr<std::string> ReadFile(const std::string& file) {
  const cli::UniqueFd fd(file == "-"
                             ? dup(STDIN_FILENO)
                             : open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return SystemError(file);
  std::string content;
  char block[1 << 16];
  for (;;) {
    const ssize_t length = read(fd.get(), block, sizeof(block));
    if (length == 0) return content;
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return SystemError(file);
    content.append(block, static_cast<size_t>(length));
  }
}

absl::Status Write(const std::string& path, absl::string_view text) {
  const auto output = cli::OpenOutput(path, STDOUT_FILENO);
  if (!output.ok()) return output.status();
  if (cli::WriteAll(output->get(), text)) return absl::OkStatus();
  return SystemError(path.empty() ? "standard output" : path);
}

absl::Status Run(Options options) {
  if (options.by_package) {
    auto segments = PackageSegments();
    if (!segments.ok()) return segments.status();
    options.question.segments = *std::move(segments);
  }
  const auto content = ReadFile(options.file);
  if (!content.ok()) return content.status();
  const std::string name = options.file == "-" ? "stdin" : options.file;
  const auto series = ReadSeries(name, *content, options.selection);
  if (!series.ok()) return series.status();

  std::vector<Segment> segments;
  for (const Series& one : *series) {
    for (Segment& segment : Analyse(one, options.question)) {
      segments.push_back(std::move(segment));
    }
  }
  if (std::all_of(segments.begin(), segments.end(), [](const Segment& segment) {
        return !segment.error.empty();
      })) {
    return absl::FailedPreconditionError(absl::StrCat(
        name, ": ", segments[0].series, ": ", segments[0].error,
        segments.size() == 1
            ? ""
            : absl::StrCat(", and ", segments.size() - 1, " more like it")));
  }
  if (!options.svg.empty()) {
    const absl::Status status =
        Write(options.svg, RenderSvg(segments, options.linear_axes));
    if (!status.ok()) return status;
  }
  return Write("", options.json ? RenderJson(name, segments)
                                : RenderTable(segments, options.question));
}

int Main(int argc, char** argv) {
  auto options = ParseOptions(argc, argv);
  if (!options.ok()) {
    cli::Complain(options.status().message());
    return 2;
  }
  const absl::Status status =
      options->help ? Write("", Help()) : Run(*std::move(options));
  if (status.ok()) return 0;
  cli::Complain(status.message());
  return 1;
}

}  // namespace
}  // namespace retprobe::scaling

int main(int argc, char** argv) { return retprobe::scaling::Main(argc, argv); }
