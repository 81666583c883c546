// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ADDRESS_RANGE_H_
#define RETPROBE_ADDRESS_RANGE_H_

#include <cstdint>

namespace retprobe {

// Addresses from `begin` up to, not including, `end`.
struct AddressRange {
  uintptr_t begin;
  uintptr_t end;
};

}  // namespace retprobe

#endif  // RETPROBE_ADDRESS_RANGE_H_
