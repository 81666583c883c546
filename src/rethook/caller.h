// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_CALLER_H_
#define RETPROBE_RETHOOK_CALLER_H_

#include <cstdint>

#include "rethook/trampoline.h"

namespace retprobe {

// Where a function will return to whose return address is `address` while rbx
// is `rbx`. A function that a probed one has jumped to at its end returns to
// the trampoline, which keeps that one's instance in rbx.
inline uint64_t CallerOf(uint64_t address, uint64_t rbx) {
  while (address == reinterpret_cast<uint64_t>(&retprobe_return)) {
    const auto* outer = reinterpret_cast<const ReturnInstance*>(rbx);
    address = outer->return_address;
    rbx = outer->saved_rbx;
  }
  return address;
}

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_CALLER_H_
