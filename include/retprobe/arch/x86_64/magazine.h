// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_MAGAZINE_H_
#define RETPROBE_ARCH_X86_64_MAGAZINE_H_

// The pool's first tier: per CPU a few object pointers that only restartable
// sequences on that CPU change, here and in the trampoline's assembly. The
// layout is a contract between the two and the library's slow paths
// (src/objpool/magazine.h); it is part of the library's binary interface.
//
//   magazines - 64:  header
//   magazines + (cpu << RETPROBE_MAGAZINE_SHIFT):  that CPU's magazine
//
// The header's state begins with the gate: how many CPUs may use their
// magazines, or 0 while the pool is closed. Compared as 16 bits, unsigned, with
// the CPU id, which sends threads without a registration (-1, -2) away, too.
//
// A magazine is a pointer, the front, and a stack, the array with its count:
//
// Pop:  object = front; if (object > 0) commit front = 0
//       else if (count > 0) object = objects[count - 1], commit count = count-1
// Push: if (front == 0) commit front = object
//       else if (count < capacity) objects[count] = object,
//                                  commit count = count + 1
//
// Both words are negative while frozen, which fails the signed comparisons of
// the pop and the unsigned ones of the push. A pop and a push in turn meet in
// the front: the second waits for one store-to-load forwarding of the first,
// where a count takes two and two additions.
//
// A section's last instruction is its only lasting store. Misses are counted
// apart, (cpu << RETPROBE_MAGAZINE_SHIFT) behind where the header points: other
// CPUs look at magazines while they find nothing.
#define RETPROBE_MAGAZINE_SHIFT 9
#define RETPROBE_MAGAZINE_SLOTS 62
#define RETPROBE_MAGAZINE_FRONT 504
#define RETPROBE_MAGAZINE_HEADER_STATE -64
#define RETPROBE_MAGAZINE_HEADER_CAPACITY -56
#define RETPROBE_MAGAZINE_HEADER_CPUS -48
#define RETPROBE_MAGAZINE_HEADER_MISSES -40

// The bits of the state that say where objects may be; the rest counts. Two of
// them: magazines may hold objects that other CPUs have not looked at; only
// that of the gate's last CPU may.
#define RETPROBE_STATE_WHERE_BITS 40
#define RETPROBE_STATE_UNSETTLED (1 << 16)
#define RETPROBE_STATE_SOLE (1 << 19)

#ifndef __ASSEMBLER__
#include <cstddef>
#include <cstdint>

// Restartable sequences on glibc's registration. Of the thread's rseq area only
// rseq_cs is written; it is left set at the end (the kernel clears it when it
// next looks). `rseq` is __rseq_offset everywhere: the area's distance from the
// thread pointer.
//
// The section flag "?" puts each table beside the code it describes, into the
// same COMDAT group, so that these functions may be inline.
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

// What MagazinePop returns when the slow path must look.
inline constexpr uintptr_t kLookFurther = 1;

// Takes the object in this CPU's front. Not positive, as a signed number: there
// is none to take. Restarts itself. (No asm goto: with outputs GCC 12.2 gets
// the jump's path wrong, PR 110728.)
inline uintptr_t FrontPop(void* magazines, ptrdiff_t rseq) noexcept {
  uintptr_t object;
  uint64_t cpu;
  asm volatile(RETPROBE_RSEQ_BEGIN("%[cpu]")
               "xorl %k[object], %k[object]\n\t"
               "movl %%fs:4(%[rseq]), %k[cpu]\n\t"
               "cmpw %c[state](%[base]), %w[cpu]\n\t"
               "jae 73f\n\t"
               "shlq %[shift], %[cpu]\n\t"
               "movq %c[front](%[base],%[cpu]), %[object]\n\t"
               "testq %[object], %[object]\n\t"
               "jle 73f\n\t"
               "movq $0, %c[front](%[base],%[cpu])\n"  // commits
               RETPROBE_RSEQ_END("71b")
               : [object] "=&r"(object), [cpu] "=&r"(cpu)
               : [base] "r"(magazines), [rseq] "r"(rseq),
                 [state] "i"(RETPROBE_MAGAZINE_HEADER_STATE),
                 [shift] "i"(RETPROBE_MAGAZINE_SHIFT),
                 [front] "i"(RETPROBE_MAGAZINE_FRONT)
               : "memory", "cc");
  return object;
}

// Takes an object of this CPU's array. 0: the pool is empty, and the miss is
// counted; kLookFurther: this magazine has none to give. Restarts itself.
inline uintptr_t ArrayPop(void* magazines, ptrdiff_t rseq) noexcept {
  uintptr_t object;
  uint64_t cpu, address, value;
  asm volatile(RETPROBE_RSEQ_BEGIN("%[cpu]")
               "movl %%fs:4(%[rseq]), %k[cpu]\n\t"
               "movl %[further], %k[object]\n\t"
               "cmpw %c[state](%[base]), %w[cpu]\n\t"
               "jae 75f\n\t"
               "shlq %[shift], %[cpu]\n\t"
               "addq %[base], %[cpu]\n\t"
               "movq (%[cpu]), %[value]\n\t"
               "movq %[cpu], %[address]\n\t"
               "testq %[value], %[value]\n\t"
               "jle 76f\n\t"
               "movq (%[cpu],%[value],8), %[object]\n\t"
               "decq %[value]\n\t"
               "jmp 77f\n"
               // empty: and is it the only one that is in use?
               "76:\torq %c[front](%[cpu]), %[value]\n\t"
               "jnz 73f\n\t"
               "movl %%fs:4(%[rseq]), %k[value]\n\t"
               "addl %[sole], %k[value]\n\t"
               "xorq %c[state](%[base]), %[value]\n\t"
               "shlq %[counting], %[value]\n\t"
               "jnz 73f\n\t"
               "subq %[base], %[cpu]\n\t"
               "jmp 78f\n"
               // closed: is there any object anywhere?
               "75:\tmovq %c[state](%[base]), %[value]\n\t"
               "shlq %[counting], %[value]\n\t"
               "jnz 73f\n\t"
               "cmpq %c[cpus](%[base]), %[cpu]\n\t"
               "jae 73f\n\t"
               "shlq %[shift], %[cpu]\n"
               "78:\taddq %c[misses](%[base]), %[cpu]\n\t"
               "movq %[cpu], %[address]\n\t"
               "movq (%[address]), %[value]\n\t"
               "xorl %k[object], %k[object]\n\t"
               "incq %[value]\n"
               "77:\tmovq %[value], (%[address])\n"  // commits
               RETPROBE_RSEQ_END("71b")
               : [object] "=&r"(object), [cpu] "=&r"(cpu),
                 [address] "=&r"(address), [value] "=&r"(value)
               : [base] "r"(magazines), [rseq] "r"(rseq),
                 [state] "i"(RETPROBE_MAGAZINE_HEADER_STATE),
                 [cpus] "i"(RETPROBE_MAGAZINE_HEADER_CPUS),
                 [shift] "i"(RETPROBE_MAGAZINE_SHIFT),
                 [misses] "i"(RETPROBE_MAGAZINE_HEADER_MISSES),
                 [front] "i"(RETPROBE_MAGAZINE_FRONT),
                 [sole] "i"(RETPROBE_STATE_SOLE + RETPROBE_STATE_UNSETTLED + 1),
                 [counting] "i"(64 - RETPROBE_STATE_WHERE_BITS),
                 [further] "i"(kLookFurther)
               : "memory", "cc");
  return object;
}

// Takes the object that was put last into this CPU's magazine, or what ArrayPop
// says.
inline uintptr_t MagazinePop(void* magazines, ptrdiff_t rseq) noexcept {
  const uintptr_t object = FrontPop(magazines, rseq);
  return __builtin_expect(static_cast<intptr_t>(object) > 0, 1)
             ? object
             : ArrayPop(magazines, rseq);
}

// Puts `object` into this CPU's front. False: something is there, or the gate
// is shut, or the thread has no registration. Restarts itself.
inline bool FrontPush(void* magazines, void* object, ptrdiff_t rseq) noexcept {
  asm volatile goto(RETPROBE_RSEQ_BEGIN("%%rcx")
           "movl %%fs:4(%[rseq]), %%ecx\n\t"
           "cmpw %c[state](%[base]), %%cx\n\t"
           "jae %l[refused]\n\t"
           "shlq %[shift], %%rcx\n\t"
           "cmpq $0, %c[front](%[base],%%rcx)\n\t"
           "jne %l[refused]\n\t"
           "movq %[object], %c[front](%[base],%%rcx)\n"  // commits
           RETPROBE_RSEQ_END("71b")
           :
           : [base] "r"(magazines), [object] "r"(object), [rseq] "r"(rseq),
             [state] "i"(RETPROBE_MAGAZINE_HEADER_STATE),
             [shift] "i"(RETPROBE_MAGAZINE_SHIFT),
             [front] "i"(RETPROBE_MAGAZINE_FRONT)
           : "rcx", "memory", "cc"
           : refused);
  return true;
refused:
  return false;
}

// Puts `object` on this CPU's array. False: that is full or frozen, or the gate
// is shut, or the thread has no registration. Restarts itself.
inline bool ArrayPush(void* magazines, void* object, ptrdiff_t rseq) noexcept {
  asm volatile goto(RETPROBE_RSEQ_BEGIN("%%rcx")
           "movl %%fs:4(%[rseq]), %%ecx\n\t"
           "cmpw %c[state](%[base]), %%cx\n\t"
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
             [state] "i"(RETPROBE_MAGAZINE_HEADER_STATE),
             [capacity] "i"(RETPROBE_MAGAZINE_HEADER_CAPACITY),
             [shift] "i"(RETPROBE_MAGAZINE_SHIFT)
           : "rcx", "rdx", "memory", "cc"
           : refused);
  return true;
refused:
  return false;
}

// Puts `object` into this CPU's magazine. False: it does not take it.
inline bool MagazinePush(void* magazines, void* object,
                         ptrdiff_t rseq) noexcept {
  return __builtin_expect(FrontPush(magazines, object, rseq), 1) ||
         ArrayPush(magazines, object, rseq);
}

}  // namespace retprobe::arch
#endif  // __ASSEMBLER__

#endif  // RETPROBE_ARCH_X86_64_MAGAZINE_H_
