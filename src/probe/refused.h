// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_REFUSED_H_
#define RETPROBE_PROBE_REFUSED_H_

#include "absl/status/status.h"

namespace retprobe {

// What Probeable and WhyEntryOnly (symbols/probeable.h) say.
struct ProbeTerms {
  absl::Status status;
  const char* entry_only = nullptr;
};

// The terms for the function at `address`, whatever its names are. Reads a
// module's symbols the first time one of its functions is asked for; a module
// without symbols refuses nothing.
//
// Thread-safe.
ProbeTerms TermsFor(const void* address);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_REFUSED_H_
