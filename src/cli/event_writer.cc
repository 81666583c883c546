// SPDX-License-Identifier: Apache-2.0
#include "cli/event_writer.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "cli/json.h"
#include "retprobe/context.h"

namespace retprobe::cli {
namespace {

using session::EventRecord;

const char* HowItEnded(const EventRecord& event) {
  switch (static_cast<EndReason>(event.reason)) {
    case EndReason::kReturned:
      return "returned";
    case EndReason::kUnwound:
      return "unwound";
    case EndReason::kAbandoned:
      return "abandoned";
  }
  return "?";
}

bool Returned(const EventRecord& event) {
  return static_cast<EndReason>(event.reason) == EndReason::kReturned;
}

}  // namespace

const EventWriter::Names& EventWriter::NamesOf(const Process& process,
                                               uint32_t function) {
  auto& names = names_[&process];
  const auto known = names.find(function);
  if (known != names.end()) return known->second;
  for (const auto& segment : process.segments) {
    const uint32_t index = function - segment->first_function();
    if (index >= segment->function_count()) continue;
    const std::string module = segment->module(index);
    const std::string name = segment->name(index);
    return names[function] = {JsonString(module), JsonString(name),
                              DisplayName(module, name)};
  }
  static const Names unknown = {"\"\"", "\"\"", "?"};
  return unknown;
}

void EventWriter::AppendText(const Process& process, const EventRecord& event,
                             std::string* text) {
  const uint64_t begin = clock_->SinceStart(event.begin);
  char buffer[160];
  snprintf(buffer, sizeof(buffer), "%6lu.%09lu %7u ",
           static_cast<unsigned long>(begin / 1000000000),
           static_cast<unsigned long>(begin % 1000000000), event.thread);
  absl::StrAppend(text, buffer, NamesOf(process, event.function).display);
  snprintf(buffer, sizeof(buffer),
           "(0x%lx, 0x%lx, 0x%lx, 0x%lx) = ", event.arguments[0],
           event.arguments[1], event.arguments[2], event.arguments[3]);
  absl::StrAppend(text, buffer);
  if (Returned(event)) {
    absl::StrAppend(text, "0x", absl::Hex(event.result));
  } else {
    text->append("?");
  }
  if (static_cast<EndReason>(event.reason) == EndReason::kAbandoned) {
    absl::StrAppend(text, " ? ns");
  } else {
    absl::StrAppend(text, " ", clock_->Nanoseconds(event.duration), " ns");
  }
  absl::StrAppend(text, " ", HowItEnded(event), "\n");
}

void EventWriter::AppendJson(const Process& process, const EventRecord& event,
                             std::string* text) {
  const Names& names = NamesOf(process, event.function);
  absl::StrAppend(
      text, "{\"type\":\"call\",\"time_ns\":", clock_->SinceStart(event.begin),
      ",\"pid\":", process.pid, ",\"thread\":", event.thread);
  absl::StrAppend(text, ",\"module\":", names.module,
                  ",\"function\":", names.function, ",\"arguments\":[");
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(text, i == 0 ? "\"0x" : ",\"0x",
                    absl::Hex(event.arguments[i]), "\"");
  }
  absl::StrAppend(text, "],\"result\":");
  if (Returned(event)) {
    absl::StrAppend(text, "\"0x", absl::Hex(event.result), "\"");
  } else {
    text->append("null");
  }
  absl::StrAppend(text, ",\"duration_ns\":");
  if (static_cast<EndReason>(event.reason) == EndReason::kAbandoned) {
    text->append("null");
  } else {
    absl::StrAppend(text, clock_->Nanoseconds(event.duration));
  }
  absl::StrAppend(text, ",\"end\":\"", HowItEnded(event), "\"}\n");
}

void EventWriter::Append(SessionServer::Events& events, std::string* text) {
  std::stable_sort(events.begin(), events.end(),
                   [](const auto& a, const auto& b) {
                     return a.second.begin + a.second.duration <
                            b.second.begin + b.second.duration;
                   });
  for (const auto& [process, event] : events) {
    if (json_) {
      AppendJson(*process, event, text);
    } else {
      AppendText(*process, event, text);
    }
  }
}

}  // namespace retprobe::cli
