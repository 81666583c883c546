// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_TRAMPOLINE_H_
#define RETPROBE_RETHOOK_TRAMPOLINE_H_

#include <cstddef>
#include <cstdint>

#include "rethook/instance.h"

// The border between the trampoline's assembly (src/arch/x86_64/trampoline.S)
// and C++. All of it runs inside other people's functions: async-signal-safe,
// no allocation, no lock, no system call, no vector register.
extern "C" {

// Code.
void retprobe_entry();
void retprobe_return();
void retprobe_landing_pad();
extern const char retprobe_trampoline_end[];

// Where handlers are run, by VectorClass.
extern const void* const retprobe_entry_paths[];
extern const void* const retprobe_return_paths[];

// Constants of the process, set by PrepareTrampoline (rethook/prepare.h).
extern ptrdiff_t retprobe_rseq_offset;
// What the machine and the kernel offer: 0 SSE, 1 AVX, 2 AVX-512F, 3 also
// AVX-512BW and VL. Not yet prepared: -1.
extern int32_t retprobe_vector_level;

// The magazine was empty, frozen, or not for this thread. Null: no instance,
// and the miss is counted.
retprobe::ReturnInstance* retprobe_take_slow(retprobe::Site* site);

// The magazine was full, frozen, or not for this thread.
void retprobe_give_slow(void* magazines, retprobe::ReturnInstance* instance);

// Calls a handler, with signals in mind: `bit` is added to
// ReturnInstance::accepted in the instruction after which an entry handler that
// returned true is not to be forgotten; of `accepted` only `others` is kept in
// the one before which a return handler has been called.
bool retprobe_call_entry_handler(void* user, retprobe::EntryContext* context,
                                 bool (*handler)(void*,
                                                 retprobe::EntryContext&),
                                 retprobe::ReturnInstance* instance,
                                 uint64_t bit);
void retprobe_call_return_handler(void* user, retprobe::ReturnContext* context,
                                  void (*handler)(void*,
                                                  retprobe::ReturnContext&),
                                  retprobe::ReturnInstance* instance,
                                  uint64_t others);

// Runs entry handlers. False: every one declined.
bool retprobe_dispatch_entry(retprobe::ReturnInstance* instance,
                             retprobe::RegisterFrame* frame);

// Gives back the instance of a declined activation; returns its site.
retprobe::Site* retprobe_decline(retprobe::ReturnInstance* instance);

// Runs return handlers; the caller gives the instance back.
void retprobe_dispatch_return(retprobe::ReturnInstance* instance,
                              retprobe::RegisterFrame* frame);
}

namespace retprobe {

// Which vector registers are kept around handlers (arch/x86_64/vectors.inc), in
// the order of trampoline.S.
enum class VectorClass {
  kNone,
  kSseFew,  // the low 128 bits of 0..3
  kSse,     // the low 128 bits of 0..15
  kAvx,     // 0..15, 256 bits
  kFew,     // 0..3, 512 bits
  kLow,     // 0..15, 512 bits
  kHigh,    // 16..31 and masks
  kAll,
  kAllF,  // as kAll, for AVX-512F alone
};

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_TRAMPOLINE_H_
