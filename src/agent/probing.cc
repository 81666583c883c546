// SPDX-License-Identifier: Apache-2.0
#include "agent/probing.h"

#include <cstring>
#include <utility>

#include "absl/types/span.h"
#include "probe/probe.h"
#include "probe/registry.h"

namespace retprobe::agent {
namespace {

using session::FunctionState;

uint64_t CodeAt(uintptr_t address) {
  uint64_t code;
  memcpy(&code, reinterpret_cast<const void*>(address), sizeof(code));
  return code;
}

}  // namespace

ReturnProbeOptions Probing::OptionsFor(const FunctionCells* cells) const {
  ReturnProbeOptions options;
  // The forwarders are compiled with the rest of this file; they pass two
  // pointers on and touch no vector register (a test looks at the code).
  options.entry_handler = [cells](EntryContext& context) noexcept {
    return OnEntry(*cells, context);
  };
  options.return_handler = [cells](ReturnContext& context) noexcept {
    OnReturn(*cells, context);
  };
  options.data_size = kActivationData;
  options.saved_arguments =
      (setup_.flags & session::kFlagEvents) != 0 ? kEventArguments : 0;
  options.handlers_leave_vectors_alone = true;
  options.filter = filter_;
  options.max_depth = static_cast<int>(setup_.max_depth);
  options.max_hits = setup_.max_hits;
  return options;
}

// One that has gone and come back goes on counting where it was.
Probing::Function* Probing::FunctionFor(const Segment& segment,
                                        const Segment::Entry& entry) {
  std::string key = segment.text(entry.module) + ':' + entry.name;
  const auto known = gone_.find(key);
  if (known != gone_.end()) {
    Function* function = known->second;
    gone_.erase(known);
    function->address = entry.address;
    return function;
  }
  functions_.push_back(std::make_unique<Function>());
  Function* function = functions_.back().get();
  function->key = std::move(key);
  function->address = entry.address;
  return function;
}

// From what the record shows, whatever the site has counted before.
void Probing::KeepCounting(Function& function) {
  FunctionCells& cells = function.cells;
  session::FunctionRecord shown = {};
  if (cells.record != nullptr) shown = *cells.record;
  cells.site = &ProbeAccess::SiteOf(*function.probe);
  cells.probe = &ProbeAccess::StateOf(*function.probe);
  const FunctionCells::Missed missed = cells.MissedSoFar();
  cells.missed_before[0] = missed.counts[0] - shown.missed_empty;
  cells.missed_before[1] = missed.counts[1] - shown.missed_recursion;
  cells.missed_before[2] = missed.counts[2] - shown.missed_dying;
  cells.missed_before[3] = missed.counts[3] - shown.missed_depth;
  cells.missed_before[4] = missed.counts[4] - shown.missed_limit;
}

std::unique_ptr<Segment> Probing::Probe() {
  auto segment = std::make_unique<Segment>(count_);
  const std::string note = ChooseAgain();
  if (!note.empty()) segment->SetWarning(note);
  scanner_.Scan(*segment);
  std::vector<Segment::Entry> found = std::move(segment->entries());
  segment->entries().clear();
  std::vector<Function*> functions;
  std::vector<ReturnProbe::Request> requests;
  for (const Segment::Entry& entry : found) {
    if (!entry.reason.empty()) continue;
    functions.push_back(FunctionFor(*segment, entry));
    requests.push_back({reinterpret_cast<void*>(entry.address),
                        OptionsFor(&functions.back()->cells)});
  }
  auto results = ReturnProbe::AttachAll(absl::MakeSpan(requests));
  unpublished_.clear();
  size_t next = 0;
  for (Segment::Entry& entry : found) {
    Function* function = nullptr;
    if (entry.reason.empty()) {
      function = functions[next];
      auto& result = results[next++];
      if (result.ok()) {
        function->probe = std::make_unique<ReturnProbe>(*std::move(result));
        function->code = CodeAt(function->address);
        entry.traits =
            (function->probe->uses_trap() ? session::kTraitTrap : 0u) |
            (function->probe->entry_only() ? session::kTraitEntryOnly : 0u);
        KeepCounting(*function);
      } else {
        entry.reason = std::string(result.status().message());
      }
      if (function->cells.record != nullptr) {  // has its place in a segment
        if (function->probe != nullptr) {
          function->cells.record->state = FunctionState::kProbed;
          function->cells.record->traits = entry.traits;
        }
        continue;
      }
    }
    segment->entries().push_back(std::move(entry));
    unpublished_.push_back(function);
  }
  if (segments_.empty() || !segment->entries().empty()) return segment;
  return nullptr;
}

// The filter as of now, for probes to come and for those that are there. Says
// what the callers name that is not there.
std::string Probing::ChooseAgain() {
  std::string note;
  CallFilter filter = choice_.Make(&note);
  if (filter.threads == filter_.threads &&
      filter.except_threads == filter_.except_threads &&
      filter.callers == filter_.callers) {
    return "";
  }
  filter_ = std::move(filter);
  for (auto& function : functions_) {
    if (function->probe != nullptr) {
      function->probe->SetFilter(filter_).IgnoreError();
    }
  }
  return note;
}

int Probing::Publish(std::unique_ptr<Segment> segment) {
  int descriptor = -1;
  if (!segment->Map(setup_.cpus, &descriptor)) return -1;
  for (size_t i = 0; i < unpublished_.size(); ++i) {
    Function* function = unpublished_[i];
    if (function == nullptr || function->probe == nullptr) continue;
    function->cells.Publish(segment->CellsOf(static_cast<uint32_t>(i)));
    function->cells.record->state = FunctionState::kProbed;
  }
  count_ += static_cast<uint32_t>(unpublished_.size());
  unpublished_.clear();
  segments_.push_back(std::move(segment));
  return descriptor;
}

bool Probing::IsThere(const Function& function,
                      const std::vector<Module>& modules) {
  for (const Module& module : modules) {
    // The code tells one that was loaded anew at its old place.
    if (module.Contains(function.address)) {
      return CodeAt(function.address) == function.code;
    }
  }
  return false;
}

void Probing::DropGone() {
  const std::vector<Module> modules = LoadedModules();
  std::vector<ReturnProbe> gone;
  for (auto& function : functions_) {
    if (function->probe == nullptr || IsThere(*function, modules)) continue;
    if (function->cells.record != nullptr) function->cells.StoreMissed();
    gone.push_back(std::move(*function->probe));
    function->probe.reset();
    scanner_.Forget(function->address);
    if (function->cells.record == nullptr) continue;
    function->cells.record->state = FunctionState::kGone;
    gone_[function->key] = function.get();
  }
  ReturnProbe::DetachAll(absl::MakeSpan(gone));
}

void Probing::StartCountingAnew() {
  ChooseAgain();
  for (auto& function : functions_) {
    if (function->probe != nullptr) KeepCounting(*function);
  }
}

void Probing::StoreMissed() {
  for (auto& function : functions_) {
    if (function->probe != nullptr && function->cells.record != nullptr) {
      function->cells.StoreMissed();
    }
  }
  if (segments_.empty()) return;
  segments_.front()->header().instances = Registry::Get().Instances();
}

}  // namespace retprobe::agent
