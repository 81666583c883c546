// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_HANDLER_CODE_H_
#define RETPROBE_PROBE_HANDLER_CODE_H_

namespace retprobe {

// Which vector registers a piece of code may change, in rising order.
enum class VectorUse {
  kNone,
  kSseFew,  // registers 0..3, by instructions that leave the parts above 128
            // bits alone
  kSse,     // registers 0..15, in the same way
  kAny,
};

// What a handler does to the thread it runs in, as far as its code tells.
struct HandlerCode {
  VectorUse vectors;
  // It changes at most kSseFew and no general register but rax, rcx, rdx, rsi
  // and rdi (and what it restores), and stays within itself: nothing it does
  // can call a probed function.
  bool leaf;
};

// Reads the code at `function` and what it calls and jumps to, as far as that
// can be followed, which ends at indirect calls and at some thousand
// instructions: then everything must be expected.
HandlerCode ReadHandlerCode(const void* function);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_HANDLER_CODE_H_
