// SPDX-License-Identifier: Apache-2.0
#include "scaling/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "cli/json.h"
#include "scaling/axis.h"
#include "scaling/report.h"

namespace retprobe::scaling {
namespace {

// The frame around the curves; the legend stands on its right.
constexpr double kLeft = 70, kTop = 20, kWidth = 560, kHeight = 420;
constexpr double kLegend = kLeft + kWidth + 20;
constexpr double kLegendLine = 18;
constexpr double kCharacter = 7;  // about, of the legend's font

// Okabe and Ito's colours (2008), which those who cannot tell red from green
// can tell, without the yellow; black last.
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                    "#56b4e9", "#e69f00", "#000000"};

// Around 0 0. With the colours 28 series differ.
constexpr const char* kMarkers[] = {
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0", "M-3-3h6v6h-6z",
    "M0-4l4 7h-8z", "M0-4.5l4 4.5l-4 4.5l-4-4.5z"};

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

// As text of an XML document: markup escaped; what XML cannot hold becomes
// U+FFFD.
std::string Escape(absl::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t length = cli::Utf8Length(text);
    const char c = text[0];
    if (length == 0 || (length == 1 && static_cast<unsigned char>(c) < 0x20)) {
      result += "\xef\xbf\xbd";
    } else if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else {
      result.append(text.data(), length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return result;
}

std::string Text(double x, double y, const char* anchor,
                 absl::string_view text) {
  return absl::StrCat("<text x=\"", Number(x), "\" y=\"", Number(y),
                      "\" text-anchor=\"", anchor, "\">", Escape(text),
                      "</text>\n");
}

std::string Marker(double x, double y, size_t series) {
  const size_t shape = series / std::size(kColours) % std::size(kMarkers);
  return absl::StrCat("<path d=\"", kMarkers[shape],
                      "\" transform=\"translate(", Number(x), " ", Number(y),
                      ")\"/>\n");
}

struct Axes {
  Axis x, y;
};

// Around all points, and all predictions.
Axes AxesAround(const std::vector<Segment>& segments, bool linear) {
  double most = 1, least_x = 1e300, least_y = 1e300, most_y = 0;
  const auto include = [&](double x, double y) {
    least_x = std::min(least_x, x);
    most = std::max(most, x);
    least_y = std::min(least_y, y);
    most_y = std::max(most_y, y);
  };
  for (const Segment& segment : segments) {
    for (const Point& point : segment.points) {
      include(point.threads, point.throughput);
    }
    for (const Prediction& prediction : segment.predictions) {
      include(prediction.threads, prediction.throughput);
    }
  }
  Axes axes;
  axes.x = linear ? LinearAxis(most) : PowersOfTwoAxis(least_x, most);
  axes.y = linear ? LinearAxis(most_y) : DecimalLogAxis(least_y, most_y);
  axes.x.begin = kLeft;
  axes.x.end = kLeft + kWidth;
  axes.y.begin = kTop + kHeight;
  axes.y.end = kTop;
  return axes;
}

std::string Grid(const Axes& axes) {
  std::string lines = "<path class=\"grid\" d=\"";
  std::string labels;
  for (const double tick : axes.x.ticks) {
    const double x = axes.x.Map(tick);
    absl::StrAppend(&lines, "M", Number(x), " ", Number(kTop), "v",
                    Number(kHeight));
    labels += Text(x, kTop + kHeight + 18, "middle", Short(tick));
  }
  for (const double tick : axes.y.ticks) {
    const double y = axes.y.Map(tick);
    absl::StrAppend(&lines, "M", Number(kLeft), " ", Number(y), "h",
                    Number(kWidth));
    labels += Text(kLeft - 8, y + 4, "end", Short(tick));
  }
  absl::StrAppend(&lines, "\"/>\n", labels);
  lines += Text(kLeft + kWidth / 2, kTop + kHeight + 40, "middle", "threads");
  absl::StrAppend(&lines, "<text transform=\"translate(16 ",
                  Number(kTop + kHeight / 2),
                  ") rotate(-90)\" text-anchor=\"middle\">throughput</text>\n");
  return lines;
}

// The curve between two numbers of threads, finely enough for both scales.
std::string CurvePath(const Curve& curve, double from, double to,
                      const Axes& axes, const char* style) {
  constexpr int kPieces = 80;
  std::string path = "<path class=\"curve\" d=\"";
  for (int i = 0; i <= kPieces; ++i) {
    const double part = static_cast<double>(i) / kPieces;
    const double threads = axes.x.log ? from * std::pow(to / from, part)
                                      : from + (to - from) * part;
    absl::StrAppend(&path, i == 0 ? "M" : "L", Number(axes.x.Map(threads)), " ",
                    Number(axes.y.Map(curve.At(threads))));
  }
  return absl::StrCat(path, "\"", style, "/>\n");
}

std::string Draw(const Segment& segment, size_t series, const Axes& axes) {
  std::string text;
  if (segment.error.empty()) {
    const Curve& curve = segment.fit().curve;
    text += CurvePath(curve, segment.from, segment.to, axes, "");
    const double end = segment.predictions.empty()
                           ? segment.to
                           : segment.predictions.back().threads;
    if (end > segment.to) {
      text +=
          CurvePath(curve, segment.to, end, axes, " stroke-dasharray=\"5 4\"");
    }
  }
  for (const Point& point : segment.points) {
    text +=
        Marker(axes.x.Map(point.threads), axes.y.Map(point.throughput), series);
  }
  return text;
}

std::string LegendText(const Segment& segment) {
  if (!segment.error.empty()) return segment.series + " (not fitted)";
  const double peak = segment.fit().curve.Peak();
  return absl::StrCat(
      segment.series, " (", LawName(segment.chosen),
      std::isinf(peak) ? "" : absl::StrCat(", peak ", Short(std::round(peak))),
      ")");
}

}  // namespace

std::string RenderSvg(const std::vector<Segment>& segments, bool linear_axes) {
  const Axes axes = AxesAround(segments, linear_axes);
  std::string body = Grid(axes);
  size_t series = 0;  // how many were begun; segments of one stand together
  size_t longest = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const bool first = i == 0 || segments[i - 1].series != segment.series;
    series += first;
    const char* colour = kColours[(series - 1) % std::size(kColours)];
    absl::StrAppend(&body, "<g fill=\"", colour, "\" stroke=\"", colour,
                    "\">\n", Draw(segment, series - 1, axes));
    const double y = kTop + kLegendLine * (static_cast<double>(series) - 0.5);
    if (first) body += Marker(kLegend, y, series - 1);
    body += "</g>\n";
    if (first) {
      const std::string text = LegendText(segment);
      longest = std::max(longest, text.size());
      body += Text(kLegend + 12, y + 4, "start", text);
    }
  }
  const double width = kLegend + 20 + kCharacter * static_cast<double>(longest);
  const double height =
      std::max(kTop + kHeight + 55,
               kTop * 2 + kLegendLine * static_cast<double>(series));
  const std::string size = absl::StrCat(Number(width), " ", Number(height));
  return absl::StrCat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"",
      Number(width), "\" height=\"", Number(height), "\" viewBox=\"0 0 ", size,
      "\">\n<style>text{font:12px sans-serif;fill:#222}"
      ".grid{stroke:#ddd;fill:none}"
      ".curve{fill:none;stroke-width:1.8}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      body, "</svg>\n");
}

}  // namespace retprobe::scaling
