// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PATCH_RELOCATION_FUZZ_H_
#define RETPROBE_TEST_PATCH_RELOCATION_FUZZ_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace retprobe {

// What one round has come to.
struct FuzzResult {
  bool moved = false;     // the code could be moved, and was compared
  bool executed = false;  // both were run, too
  std::string difference;
};

// Makes a sequence of valid instructions of `data`, moves those that a jump or
// an int3 would displace, and compares both by decoding them; and, where that
// can do no harm, by running both with the same registers, flags, stack and
// memory.
FuzzResult FuzzRelocation(const uint8_t* data, size_t size);

}  // namespace retprobe

#endif  // RETPROBE_TEST_PATCH_RELOCATION_FUZZ_H_
