// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_EXACT_ENDS_H_
#define RETPROBE_TEST_EXACT_ENDS_H_

#include <signal.h>
#include <ucontext.h>
#include <unwind.h>

#include <atomic>
#include <cstdint>

#include "retprobe/return_probe.h"

// Where the one instruction ends that counts, as offsets from where they stand.
extern "C" {
extern const int32_t __start_counted_places[];
extern const int32_t __stop_counted_places[];
}

namespace retprobe {

// Counts how activations begin and end while signals leave handlers at any
// instruction, and says what that has done to the counts: who leaves must tell
// it first what was interrupted. Handlers count with one instruction, whose
// place is known, so that there is no doubt about which side of it a signal
// came.
class ExactEnds {
 public:
  // Counters of one program that are in use at once differ in `kNumber`: their
  // handlers are code of their own. With `kVectors` that changes some vector
  // registers.
  template <int kNumber = 0, bool kVectors = false>
  ReturnProbeOptions Options() {
    ReturnProbeOptions options;
    options.entry_handler = [this](EntryContext&) noexcept {
      Count<kNumber, kVectors>(entered_);
      return true;
    };
    options.return_handler = [this](ReturnContext& context) noexcept {
      Count<kNumber, kVectors>(ended_[static_cast<int>(context.reason())]);
    };
    entry_ = reinterpret_cast<uintptr_t>(options.entry_handler.invoke());
    return_ = reinterpret_cast<uintptr_t>(options.return_handler.invoke());
    return options;
  }

  // The calling signal handler, which has interrupted `context`, will leave it
  // for good. Async-signal-safe.
  void Leave(const void* context) {
    const auto* interrupted = static_cast<const ucontext_t*>(context);
    const auto ip =
        static_cast<uintptr_t>(interrupted->uc_mcontext.gregs[REG_RIP]);
    const uintptr_t function = FunctionAt(ip);
    // An entry handler that is left has not accepted; a return handler has
    // heard.
    if (function == entry_ && HasCounted(ip)) ++declined_;
    if (function == return_ && !HasCounted(ip)) ++heard_;
  }

  long entered() const { return entered_; }
  long returned() const { return ended_[0]; }
  long unwound() const { return ended_[1]; }
  long abandoned() const { return ended_[2]; }
  long declined() const { return declined_; }
  long heard() const { return heard_; }
  // The sum of all endings.
  long ended() const {
    return returned() + unwound() + abandoned() + declined() + heard();
  }

 private:
  template <int kNumber, bool kVectors>
  static void Count(std::atomic<long>& count) {
    if (kVectors) asm volatile("pxor %%xmm9, %%xmm9" : : : "xmm9");
    asm volatile(
        "lock incq %0  # %c1\n1:\n\t"
        ".pushsection counted_places, \"a\"\n\t"
        ".long 1b - .\n\t"
        ".popsection"
        : "+m"(count)
        : "i"(kNumber)
        : "cc");
  }

  static uintptr_t FunctionAt(uintptr_t ip) {
    // It looks for the function that a call returning to the address was in.
    return reinterpret_cast<uintptr_t>(
        _Unwind_FindEnclosingFunction(reinterpret_cast<void*>(ip + 1)));
  }

  // Whether the handler that is about to execute `ip` has counted.
  static bool HasCounted(uintptr_t ip) {
    const uintptr_t function = FunctionAt(ip);
    for (const int32_t* offset = __start_counted_places;
         offset != __stop_counted_places; ++offset) {
      const uintptr_t place = reinterpret_cast<uintptr_t>(offset) +
                              static_cast<uintptr_t>(intptr_t{*offset});
      if (FunctionAt(place) == function) return ip >= place;
    }
    return false;
  }

  std::atomic<long> entered_{0};
  std::atomic<long> ended_[3] = {};  // by EndReason
  std::atomic<long> declined_{0};    // entry handlers that were left
  std::atomic<long> heard_{0};       // return handlers that were, uncounted
  uintptr_t entry_ = 0;
  uintptr_t return_ = 0;
};

}  // namespace retprobe

#endif  // RETPROBE_TEST_EXACT_ENDS_H_
