// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_RSEQ_H_
#define RETPROBE_ARCH_X86_64_RSEQ_H_

#include <cstddef>
#include <cstdint>

#include "objpool/magazine.h"

// Restartable sequences on glibc's registration. Of the thread's rseq area only
// rseq_cs is written; it is left set at the end (the kernel clears it when it
// next looks). `rseq` is __rseq_offset everywhere: the area's distance from the
// thread pointer.
//
// The section flag "?" puts each table beside the code it describes, into the
// same COMDAT group, so that these functions may be inline.
//
// Plain loads and stores stand for relaxed atomics; on x86 a store is a release
// and a load an acquire as well. ThreadSanitizer sees none of it: built with
// it, RseqAvailable() is false.

#define RETPROBE_RSEQ_BEGIN(scratch)            \
  ".pushsection __rseq_cs, \"aw?\"\n\t"         \
  ".balign 32\n"                                \
  "70:\t.long 0, 0\n\t"                         \
  ".quad 72f, 73f - 72f, 74f\n\t"               \
  ".popsection\n\t"                             \
  ".pushsection __rseq_cs_ptr_array, \"aw?\"\n" \
  "\t.quad 70b\n\t"                             \
  ".popsection\n"                               \
  "71:\tleaq 70b(%%rip), " scratch              \
  "\n\t"                                        \
  "movq " scratch                               \
  ", %%fs:8(%[rseq])\n"                         \
  "72:\n\t"

// Directly behind the one store that commits. The signature in front of the
// abort handler reads as `ud1 0x53053053(%rip), %edi`.
#define RETPROBE_RSEQ_END(abort_to)        \
  "73:\n\t"                                \
  ".pushsection __rseq_failure, \"ax?\"\n" \
  "\t.byte 0x0f, 0xb9, 0x3d\n\t"           \
  ".long 0x53053053\n"                     \
  "74:\tjmp " abort_to                     \
  "\n\t"                                   \
  ".popsection\n"

namespace retprobe::arch {

// The CPU this thread runs on, as of now; negative (as a signed number) when
// the thread has no registration.
inline uint32_t RseqCpu(ptrdiff_t rseq) noexcept {
  uint32_t cpu;
  asm volatile("movl %%fs:4(%[rseq]), %[cpu]"
               : [cpu] "=r"(cpu)
               : [rseq] "r"(rseq));
  return cpu;
}

// Takes the object that was put last into this CPU's magazine. Null when that
// is empty or frozen, or when the thread has no registration. Restarts itself.
// (No asm goto: with outputs GCC 12.2 gets the jump's path wrong, PR 110728.)
inline void* RseqMagazinePop(void* magazines, ptrdiff_t rseq) noexcept {
  void* object;
  uint64_t scratch, count;
  asm volatile(RETPROBE_RSEQ_BEGIN("%[scratch]")
               "xorl %k[object], %k[object]\n\t"
               "movl %%fs:4(%[rseq]), %k[scratch]\n\t"
               "cmpq %c[cpus](%[base]), %[scratch]\n\t"
               "jae 73f\n\t"
               "shlq %[shift], %[scratch]\n\t"
               "addq %[base], %[scratch]\n\t"
               "movq (%[scratch]), %[count]\n\t"
               "testq %[count], %[count]\n\t"
               "jle 73f\n\t"
               "movq (%[scratch],%[count],8), %[object]\n\t"
               "decq %[count]\n\t"
               "movq %[count], (%[scratch])\n"  // commits
               RETPROBE_RSEQ_END("71b")
               : [object] "=&r"(object), [scratch] "=&r"(scratch),
                 [count] "=&r"(count)
               : [base] "r"(magazines), [rseq] "r"(rseq),
                 [cpus] "i"(RETPROBE_MAGAZINE_HEADER_CPUS),
                 [shift] "i"(RETPROBE_MAGAZINE_SHIFT)
               : "memory", "cc");
  return object;
}

// Puts `object` into this CPU's magazine. False when that is full or frozen, or
// when the thread has no registration. Restarts itself.
inline bool RseqMagazinePush(void* magazines, void* object,
                             ptrdiff_t rseq) noexcept {
  asm volatile goto(RETPROBE_RSEQ_BEGIN("%%rcx")
           "movl %%fs:4(%[rseq]), %%ecx\n\t"
           "cmpq %c[cpus](%[base]), %%rcx\n\t"
           "jae %l[refused]\n\t"
           "shlq %[shift], %%rcx\n\t"
           "addq %[base], %%rcx\n\t"
           "movq (%%rcx), %%rdx\n\t"
           "cmpq %c[capacity](%[base]), %%rdx\n\t"
           "jae %l[refused]\n\t"
           "movq %[object], 8(%%rcx,%%rdx,8)\n\t"
           "incq %%rdx\n\t"
           "movq %%rdx, (%%rcx)\n"  // commits
           RETPROBE_RSEQ_END("71b")
           :
           : [base] "r"(magazines), [object] "r"(object), [rseq] "r"(rseq),
             [cpus] "i"(RETPROBE_MAGAZINE_HEADER_CPUS),
             [capacity] "i"(RETPROBE_MAGAZINE_HEADER_CAPACITY),
             [shift] "i"(RETPROBE_MAGAZINE_SHIFT)
           : "rcx", "rdx", "memory", "cc"
           : refused);
  return true;
refused:
  return false;
}

enum class RseqResult : uint32_t {
  kDone,   // committed
  kFull,   // nothing done: no room
  kRetry,  // nothing done: aborted, or not on that CPU
};

// Writes `value` behind the end of CPU `cpu`'s ring of `mask` + 1 entries, if
// this thread is on it: entries[*tail & mask] = value, ++*tail.
inline RseqResult RseqRingPush(uint32_t cpu, uint64_t* tail,
                               const uint64_t* head, uint32_t* entries,
                               uint64_t mask, uint32_t value,
                               ptrdiff_t rseq) noexcept {
  uint32_t result;
  uint64_t scratch, used;
  asm volatile(RETPROBE_RSEQ_BEGIN("%[scratch]")
               "movl %[retry], %[result]\n\t"
               "cmpl %[cpu], %%fs:4(%[rseq])\n\t"
               "jne 73f\n\t"
               "movq (%[tail]), %[scratch]\n\t"
               "movq %[scratch], %[used]\n\t"
               "subq (%[head]), %[used]\n\t"
               "movl %[full], %[result]\n\t"
               "cmpq %[mask], %[used]\n\t"
               "ja 73f\n\t"
               "movq %[scratch], %[used]\n\t"
               "andq %[mask], %[used]\n\t"
               "movl %[value], (%[entries],%[used],4)\n\t"
               "incq %[scratch]\n\t"
               "xorl %[result], %[result]\n\t"
               "movq %[scratch], (%[tail])\n"  // commits
               RETPROBE_RSEQ_END("75f")
               ".pushsection __rseq_failure, \"ax?\"\n"
               "75:\tmovl %[retry], %[result]\n\t"
               "jmp 73b\n\t"
               ".popsection\n"
               : [result] "=&r"(result), [scratch] "=&r"(scratch),
                 [used] "=&r"(used)
               : [cpu] "r"(cpu), [tail] "r"(tail), [head] "r"(head),
                 [entries] "r"(entries), [mask] "r"(mask), [value] "r"(value),
                 [rseq] "r"(rseq),
                 [full] "i"(static_cast<uint32_t>(RseqResult::kFull)),
                 [retry] "i"(static_cast<uint32_t>(RseqResult::kRetry))
               : "memory", "cc");
  return static_cast<RseqResult>(result);
}

}  // namespace retprobe::arch

#undef RETPROBE_RSEQ_BEGIN
#undef RETPROBE_RSEQ_END

#endif  // RETPROBE_ARCH_X86_64_RSEQ_H_
