// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "scaling/report.h"

namespace retprobe::scaling {
namespace {

// Keeps the order in which members are given. Infinities become null.
using Json = nlohmann::ordered_json;

Json ToJson(const Interval& interval) {
  return Json::array({interval.low, interval.high});
}

Json ToJson(const std::optional<Fit>& fit) {
  if (!fit.has_value()) return nullptr;
  return {{"g", fit->curve.g},       {"a", fit->curve.a},
          {"b", fit->curve.b},       {"peak", fit->curve.Peak()},
          {"rms_log", fit->rms_log}, {"aicc", fit->aicc}};
}

Json ToJson(const Intervals& intervals) {
  return {{"g", ToJson(intervals.g)},
          {"a", ToJson(intervals.a)},
          {"b", ToJson(intervals.b)},
          {"peak", ToJson(intervals.peak)}};
}

Json ToJson(const Segment& segment) {
  Json points = Json::array();
  for (const Point& point : segment.points) {
    points.push_back({point.threads, point.throughput});
  }
  Json json = {{"series", segment.series}, {"points", points}};
  if (!segment.error.empty()) {
    json["error"] = segment.error;
    return json;
  }
  json["law"] = LawName(segment.chosen);
  json["amdahl"] = ToJson(segment.amdahl);
  json["usl"] = ToJson(segment.usl);
  json["intervals"] = ToJson(segment.intervals);
  json["predictions"] = Json::array();
  for (const Prediction& prediction : segment.predictions) {
    json["predictions"].push_back({{"threads", prediction.threads},
                                   {"throughput", prediction.throughput},
                                   {"interval", ToJson(prediction.interval)}});
  }
  json["remarks"] = segment.remarks;
  return json;
}

}  // namespace

std::string RenderJson(const std::string& file,
                       const std::vector<Segment>& segments) {
  Json fits = Json::array();
  for (const Segment& segment : segments) fits.push_back(ToJson(segment));
  const Json json = {
      {"version", 1}, {"file", file}, {"confidence", 0.95}, {"fits", fits}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace retprobe::scaling
