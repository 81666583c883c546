// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_HANDLER_CODE_H_
#define RETPROBE_PROBE_HANDLER_CODE_H_

#include <cstdint>

namespace retprobe {

// Which vector registers code may change; sets are joined by `|`.
enum VectorUse : uint8_t {
  kSseFew = 1,  // the low 128 bits of 0..3: code without VEX or EVEX prefixes
  kSse = 2,     // the low 128 bits of 0..15
  kFew = 4,     // all of 0..3
  kLow = 8,     // all of 0..15
  kHigh = 16,   // 16..31
  kMasks = 32,
  kAllVectors = kSseFew | kSse | kFew | kLow | kHigh | kMasks,
};

// What a handler does to the thread it runs in, as far as its code tells.
struct HandlerCode {
  uint8_t vectors = 0;  // VectorUse
  // It changes at most kSseFew and no general register but rax, rcx, rdx, rsi
  // and rdi (and what it restores), and stays within itself and its context's
  // members: nothing it does can call a probed function.
  bool leaf = false;
};

// Reads the code at `function` and what it calls and jumps to, as far as that
// can be followed: also through slots that the dynamic linker has filled for
// good. That ends at other indirect calls and at some thousand instructions:
// then everything must be expected.
HandlerCode ReadHandlerCode(const void* function);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_HANDLER_CODE_H_
