// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_PROBE_H_
#define RETPROBE_PROBE_PROBE_H_

#include <cstdint>
#include <memory>

#include "patch/entry_patch.h"
#include "probe/filter.h"
#include "rethook/instance.h"
#include "retprobe/return_probe.h"

namespace retprobe {

struct PatchedFunction;

// What stands behind a ReturnProbe. Everything but `state` belongs to the
// registry's lock. Lives until no list, current or retired, names it.
struct ReturnProbe::Probe {
  ProbeState state;
  EntryHandler entry_handler;
  ReturnHandler return_handler;
  PatchedFunction* function = nullptr;
  Probe* next = nullptr;           // attached later to the same function
  std::unique_ptr<Missed> before;  // the site's counters then, if not 0
  OwnedFilter filter;              // null: every call
  uint32_t lists = 0;              // that name this probe
  uint8_t leaf_flags = 0;          // RETPROBE_FLAG_*LEAF*
  uint8_t entry_vectors = 0;       // VectorUse of the entry handler
  uint8_t return_vectors = 0;      // of the return handler
  uint8_t saved_arguments : 3 = 0;
  bool enabled : 1 = false;
  bool attached : 1 = false;
  bool entry_only : 1 = false;  // see WhyEntryOnly; of all of a function
  bool uses_trap : 1 = false;   // the patch's, when attached
  bool internal : 1 = false;    // this library's own

  // Whether its handlers are in the list of its function when that is made.
  bool live() const {
    return enabled && !(state.stops_at_max_hits && state.used_up());
  }
};

// A function that has, or once had, probes. Never freed: its stub may be in use
// for ever.
struct PatchedFunction {
  Site site = {};
  EntryPatch* patch = nullptr;
  ReturnProbe::Probe* probes = nullptr;  // in the order of attachment
};

// What the function has missed since it was first patched, by reason: those
// that a Site counts.
Missed Counters(const Site& site);

// For the agent, whose reader outlives the process: it copies what a site
// counts to where it can be read afterwards.
struct ProbeAccess {
  // Requires: attached. Lives as long as the process.
  static const Site& SiteOf(const ReturnProbe& probe) {
    return probe.probe_->function->site;
  }
  // Requires: attached. Lives as long as that, and while a handler runs.
  static const ProbeState& StateOf(const ReturnProbe& probe) {
    return probe.probe_->state;
  }
};

}  // namespace retprobe

#endif  // RETPROBE_PROBE_PROBE_H_
