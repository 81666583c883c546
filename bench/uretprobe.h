// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_URETPROBE_H_
#define RETPROBE_BENCH_URETPROBE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

// The kernel's own return probe on a function of this process, through tracefs,
// in a trace instance of its own whose recording is off: what is left is the
// cost of getting in and out of the kernel. Removed by the destructor.
class Uretprobe {
 public:
  // Errors: kPermissionDenied or kUnavailable with the step that failed: not
  //   root, no tracefs, a kernel without uprobes.
  static absl::StatusOr<std::unique_ptr<Uretprobe>> Attach(
      const void* function);
  ~Uretprobe();

  // Times the probe was hit, as the kernel counts it.
  long Hits() const;

 private:
  Uretprobe(std::string tracefs, std::string name);
  absl::Status Enable(const void* function);
  std::string InstanceFolder() const;

  const std::string tracefs_;
  const std::string name_;  // of the event, its group and the trace instance
};

#endif  // RETPROBE_BENCH_URETPROBE_H_
