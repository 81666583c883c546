// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_ADAPTERS_AUDITED_H_
#define RETPROBE_TEST_ADAPTERS_AUDITED_H_

#include <atomic>

// What audit.cc counts.
struct AuditedCounts {
  std::atomic<long> entries{0};
  std::atomic<long> returned{0};
  std::atomic<long> unwound{0};
  long in_use = 0;
};

// Null, unless audit.cc has itself called instead.
extern "C" const AuditedCounts* audited_counts();

#endif  // RETPROBE_TEST_ADAPTERS_AUDITED_H_
