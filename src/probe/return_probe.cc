// SPDX-License-Identifier: Apache-2.0
#include "retprobe/return_probe.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "probe/make_probe.h"
#include "probe/probe.h"
#include "probe/refused.h"
#include "probe/registry.h"
#include "rethook/depth_account.h"
#include "rethook/guard.h"
#include "retprobe/config.h"
#include "symbols/symbols.h"

namespace retprobe {
namespace {

constexpr int kMaxSavedArguments = 6;

absl::Status Check(const ReturnProbeOptions& options,
                   const ProbeConfig& config) {
  if (options.data_size > config.data_size_limit) {
    return absl::InvalidArgumentError(absl::StrCat(
        "data_size is ", options.data_size, "; 0 .. ", config.data_size_limit,
        " bytes (probe.data_size_limit) are possible"));
  }
  if (options.saved_arguments < 0 ||
      options.saved_arguments > kMaxSavedArguments) {
    return absl::InvalidArgumentError(
        absl::StrCat("saved_arguments is ", options.saved_arguments, "; 0 .. ",
                     kMaxSavedArguments, " are possible"));
  }
  if (options.maxactive < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "maxactive is ", options.maxactive, "; 0 (no limit) or more"));
  }
  if (options.max_depth < 0 ||
      options.max_depth > static_cast<int>(DepthAccount::kMaxDepth)) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_depth is ", options.max_depth, "; 0 (no limit) .. ",
                     DepthAccount::kMaxDepth, " are possible"));
  }
  if (options.stop_at_max_hits && options.max_hits == 0) {
    return absl::InvalidArgumentError(
        "stop_at_max_hits is set and max_hits is 0; 1 or more");
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<absl::StatusOr<ReturnProbe>> ReturnProbe::AttachAll(
    absl::Span<Request> requests) {
  SetupScope scope;
  const absl::StatusOr<Config> config = ActiveConfig();
  const absl::StatusOr<Blacklist> blacklist =
      config.ok() ? Blacklist::Parse(config->probe.blacklist) : config.status();
  std::vector<absl::StatusOr<ReturnProbe>> results;
  results.reserve(requests.size());
  if (!blacklist.ok()) {
    for (size_t i = 0; i < requests.size(); ++i) {
      results.emplace_back(blacklist.status());
    }
    return results;
  }
  std::vector<Registry::Item> items;
  items.reserve(requests.size());
  HandlerReader reader;
  for (Request& request : requests) {
    const ProbeTerms terms = TermsFor(request.function, *blacklist);
    absl::Status status = Check(request.options, config->probe);
    status.Update(terms.status);
    if (terms.entry_only != nullptr && request.options.return_handler &&
        !request.options.entry_handler) {
      status.Update(absl::FailedPreconditionError(
          absl::StrCat("the function ", terms.entry_only,
                       ": a return handler alone would never run")));
    }
    if (request.options.maxactive == 0) {
      request.options.maxactive = config->probe.maxactive;
    }
    absl::StatusOr<OwnedFilter> filter = MakeFilter(request.options.filter);
    status.Update(filter.status());
    items.push_back({request.function,
                     MakeProbe(std::move(request.options), reader),
                     std::move(status), terms.entry_only != nullptr});
    if (filter.ok()) items.back().probe->filter = *std::move(filter);
  }
  Registry::Get().Attach(absl::MakeSpan(items));
  for (Registry::Item& item : items) {
    if (item.status.ok()) {
      results.emplace_back(ReturnProbe(item.probe));
    } else {
      results.emplace_back(std::move(item.status));
    }
  }
  return results;
}

absl::StatusOr<ReturnProbe> ReturnProbe::Attach(void* function,
                                                ReturnProbeOptions options) {
  Request request = {function, std::move(options)};
  return std::move(AttachAll({&request, 1}).front());
}

absl::StatusOr<ReturnProbe> ReturnProbe::Attach(absl::string_view symbol,
                                                ReturnProbeOptions options) {
  SetupScope scope;
  const absl::StatusOr<Function> function = FindFunction(symbol);
  if (!function.ok()) return function.status();
  return Attach(reinterpret_cast<void*>(function->address), std::move(options));
}

ReturnProbe::ReturnProbe(ReturnProbe&& other) noexcept
    : probe_(std::exchange(other.probe_, nullptr)) {}

ReturnProbe& ReturnProbe::operator=(ReturnProbe&& other) noexcept {
  if (this != &other) {
    Detach();
    probe_ = std::exchange(other.probe_, nullptr);
  }
  return *this;
}

ReturnProbe::~ReturnProbe() { Detach(); }

void ReturnProbe::Enable() { Registry::Get().SetEnabled(probe_, true); }

void ReturnProbe::Disable() { Registry::Get().SetEnabled(probe_, false); }

bool ReturnProbe::enabled() const { return probe_->live(); }

absl::Status ReturnProbe::SetFilter(const CallFilter& filter) {
  return Registry::Get().SetFilter(probe_, filter);
}

std::vector<ProbeInfo> ReturnProbe::List() { return Registry::Get().List(); }

void ReturnProbe::Detach() {
  if (probe_ != nullptr) DetachAll({this, 1});
}

void ReturnProbe::DetachAll(absl::Span<ReturnProbe> probes) {
  std::vector<Probe*> ending;
  ending.reserve(probes.size());
  for (ReturnProbe& probe : probes) {
    if (probe.probe_ == nullptr) continue;
    ending.push_back(std::exchange(probe.probe_, nullptr));
  }
  Registry::Get().Detach(ending);
}

void* ReturnProbe::function() const {
  return const_cast<void*>(probe_->function->site.function);
}

bool ReturnProbe::entry_only() const { return probe_->entry_only; }

bool ReturnProbe::uses_trap() const { return probe_->uses_trap; }

size_t AbandonFrames(const void* low, const void* high) {
  return Registry::Get().AbandonFrames(reinterpret_cast<uintptr_t>(low),
                                       reinterpret_cast<uintptr_t>(high));
}

Missed ReturnProbe::nmissed() const { return Registry::Get().MissedOf(probe_); }

}  // namespace retprobe
