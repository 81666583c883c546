// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_REFUSED_H_
#define RETPROBE_PROBE_REFUSED_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "symbols/symbols.h"

namespace retprobe {

// What the configuration says must not be probed.
struct Blacklist {
  std::string text;  // as configured
  std::vector<Pattern> patterns;

  // Errors: kInvalidArgument, which pattern cannot be and why.
  static absl::StatusOr<Blacklist> Parse(absl::string_view text);
};

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
ProbeTerms TermsFor(const void* address, const Blacklist& blacklist);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_REFUSED_H_
