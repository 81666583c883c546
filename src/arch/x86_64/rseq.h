// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_RSEQ_H_
#define RETPROBE_ARCH_X86_64_RSEQ_H_

#include <cstddef>
#include <cstdint>

#include "retprobe/arch/magazine.h"

// Restartable sequences, as in retprobe/arch/x86_64/magazine.h.
//
// Plain loads and stores stand for relaxed atomics; on x86 a store is a release
// and a load an acquire as well. ThreadSanitizer sees none of it: built with
// it, RseqAvailable() is false.

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

// Whether this thread is on CPU `cpu` and both words of its magazine are 0 at
// one moment.
inline bool RseqMagazineIsEmpty(void* magazines, uint32_t cpu,
                                ptrdiff_t rseq) noexcept {
  asm volatile goto(RETPROBE_RSEQ_BEGIN("%%rcx")
           "movl %%fs:4(%[rseq]), %%ecx\n\t"
           "cmpl %[cpu], %%ecx\n\t"
           "jne %l[no]\n\t"
           "shlq %[shift], %%rcx\n\t"
           "addq %[base], %%rcx\n\t"
           "movq (%%rcx), %%rdx\n\t"
           "orq %c[front](%%rcx), %%rdx\n\t"
           "jnz %l[no]\n"
           RETPROBE_RSEQ_END("71b")
           :
           : [base] "r"(magazines), [cpu] "r"(cpu), [rseq] "r"(rseq),
             [shift] "i"(RETPROBE_MAGAZINE_SHIFT),
             [front] "i"(RETPROBE_MAGAZINE_FRONT)
           : "rcx", "rdx", "memory", "cc"
           : no);
  return true;
no:
  return false;
}

// Adds 1 to this CPU's misses. False: it has no magazine.
inline bool RseqCountMiss(void* magazines, ptrdiff_t rseq) noexcept {
  asm volatile goto(RETPROBE_RSEQ_BEGIN("%%rcx")
           "movl %%fs:4(%[rseq]), %%ecx\n\t"
           "cmpq %c[cpus](%[base]), %%rcx\n\t"
           "jae %l[none]\n\t"
           "shlq %[shift], %%rcx\n\t"
           "addq %c[misses](%[base]), %%rcx\n\t"
           "incq (%%rcx)\n"  // commits
           RETPROBE_RSEQ_END("71b")
           :
           : [base] "r"(magazines), [rseq] "r"(rseq),
             [cpus] "i"(RETPROBE_MAGAZINE_HEADER_CPUS),
             [misses] "i"(RETPROBE_MAGAZINE_HEADER_MISSES),
             [shift] "i"(RETPROBE_MAGAZINE_SHIFT)
           : "rcx", "memory", "cc"
           : none);
  return true;
none:
  return false;
}

// Adds 1 in one instruction, which no other thread of this CPU can split; a
// lock would cost more than a failing pop.
inline void IncrementHere(uint64_t* count) noexcept {
  asm volatile("incq %[count]" : [count] "+m"(*count) : : "cc");
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

#endif  // RETPROBE_ARCH_X86_64_RSEQ_H_
