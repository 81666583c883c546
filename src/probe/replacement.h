// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_REPLACEMENT_H_
#define RETPROBE_PROBE_REPLACEMENT_H_

namespace retprobe {

// Code that stands in for a function of libc which no call-through can survive:
// its stub leads there for good.
struct Replacement {
  void* function;  // null: there is none here
  const void* code;
};

}  // namespace retprobe

#endif  // RETPROBE_PROBE_REPLACEMENT_H_
