// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_VECTOR_USE_H_
#define RETPROBE_PROBE_VECTOR_USE_H_

namespace retprobe {

// Which vector registers a piece of code may change, in rising order.
enum class VectorUse {
  kNone,
  kSse,  // registers 0..15, by instructions that leave the parts above 128
         // bits alone
  kAny,
};

// Reads the code at `function` and what it calls and jumps to, as far as that
// can be followed, which ends at indirect calls and at some thousand
// instructions: then kAny.
VectorUse VectorUseOf(const void* function);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_VECTOR_USE_H_
