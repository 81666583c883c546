// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_ENDS_H_
#define RETPROBE_TEST_ENDS_H_

#include <doctest/doctest.h>

#include <atomic>
#include <utility>

#include "in_threads.h"
#include "probe/registry.h"
#include "retprobe/return_probe.h"
#include "target.h"

namespace retprobe {

// How the activations of probed functions began and ended.
struct Ends {
  std::atomic<long> entered{0};
  std::atomic<long> returned{0};
  std::atomic<long> unwound{0};
  std::atomic<long> abandoned{0};

  long ended() const { return returned + unwound + abandoned; }

  void Count(EndReason reason) noexcept {
    switch (reason) {
      case EndReason::kReturned:
        ++returned;
        break;
      case EndReason::kUnwound:
        ++unwound;
        break;
      case EndReason::kAbandoned:
        ++abandoned;
    }
  }

  ReturnProbeOptions Options() {
    ReturnProbeOptions options;
    options.entry_handler = [this](EntryContext&) noexcept {
      ++entered;
      return true;
    };
    options.return_handler = [this](ReturnContext& context) noexcept {
      Count(context.reason());
    };
    return options;
  }
};

inline ReturnProbe Attached(auto* function, ReturnProbeOptions options) {
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(function),
                                   std::move(options));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  return *std::move(probe);
}

// Instances that are out.
inline size_t Out() { return Registry::Get().InstancesInUse(); }

}  // namespace retprobe

#endif  // RETPROBE_TEST_ENDS_H_
