// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_ARCH_X86_64_VECTORS_H_
#define RETPROBE_ARCH_X86_64_VECTORS_H_

// Assembler macros that keep all vector state around a handler, in an area of
// RETPROBE_VECTOR_AREA bytes at (%rsp), aligned to 64.
//
// retprobe_vector_level says what the machine and the kernel offer: 0 SSE,
// 1 AVX, 2 AVX-512F, 3 AVX-512BW (64-bit masks). Plain moves, not xsavec: a
// store each costs a third of it, and less than asking xgetbv what is in use.
//
// Whether the halves above 128 bits of registers 0..15 are all zero is noted
// behind the masks, and they are then left zero by vzeroupper: had they been
// reloaded as zeros, the program's SSE instructions would from then on carry a
// false dependency on them.

#define RETPROBE_LOW 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
#define RETPROBE_HIGH 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31

// What code without VEX or EVEX prefixes can change: it leaves the parts above
// 128 bits alone.
.macro RETPROBE_SAVE_SSE
  .irp r, RETPROBE_LOW
  movaps %xmm\r, (\r * 64)(%rsp)
  .endr
.endm

.macro RETPROBE_RESTORE_SSE
  .irp r, RETPROBE_LOW
  movaps (\r * 64)(%rsp), %xmm\r
  .endr
.endm

// Clobbers rax and flags.
.macro RETPROBE_SAVE_VECTORS
  movl retprobe_vector_level(%rip), %eax
  cmpl $1, %eax
  ja 1f
  je 2f
  .irp r, RETPROBE_LOW
  movaps %xmm\r, (\r * 64)(%rsp)
  .endr
  jmp 3f
2:
  .irp r, RETPROBE_LOW
  vmovaps %ymm\r, (\r * 64)(%rsp)
  .endr
  vorps %ymm0, %ymm1, %ymm0
  .irp r, 2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vorps %ymm\r, %ymm0, %ymm0
  .endr
  vextractf128 $1, %ymm0, %xmm0
  vptest %xmm0, %xmm0
  setnz %al
  movzbl %al, %eax
  movl %eax, (RETPROBE_VECTOR_MASKS + 64)(%rsp)
  vmovaps (%rsp), %ymm0
  jmp 3f
1:
  .irp r, RETPROBE_LOW, RETPROBE_HIGH
  vmovdqa64 %zmm\r, (\r * 64)(%rsp)
  .endr
  cmpl $2, %eax
  ja 4f
  .irp r, 0,1,2,3,4,5,6,7
  kmovw %k\r, (RETPROBE_VECTOR_MASKS + \r * 8)(%rsp)
  .endr
  jmp 5f
4:
  .irp r, 0,1,2,3,4,5,6,7
  kmovq %k\r, (RETPROBE_VECTOR_MASKS + \r * 8)(%rsp)
  .endr
5:
  vporq %zmm0, %zmm1, %zmm16
  vporq %zmm2, %zmm3, %zmm17
  vpternlogq $0xfe, %zmm4, %zmm5, %zmm16
  vpternlogq $0xfe, %zmm6, %zmm7, %zmm17
  vpternlogq $0xfe, %zmm8, %zmm9, %zmm16
  vpternlogq $0xfe, %zmm10, %zmm11, %zmm17
  vpternlogq $0xfe, %zmm12, %zmm13, %zmm16
  vpternlogq $0xfe, %zmm14, %zmm15, %zmm17
  vporq %zmm16, %zmm17, %zmm16
  vptestmq %zmm16, %zmm16, %k1
  kmovw %k1, %eax
  andl $0xfc, %eax
  movl %eax, (RETPROBE_VECTOR_MASKS + 64)(%rsp)
3:
.endm

// Clobbers rax and flags.
.macro RETPROBE_RESTORE_VECTORS
  movl retprobe_vector_level(%rip), %eax
  cmpl $1, %eax
  jb 4f
  ja 2f
  cmpl $0, (RETPROBE_VECTOR_MASKS + 64)(%rsp)
  je 3f
  .irp r, RETPROBE_LOW
  vmovaps (\r * 64)(%rsp), %ymm\r
  .endr
  jmp 5f
2:
  .irp r, RETPROBE_HIGH
  vmovdqa64 (\r * 64)(%rsp), %zmm\r
  .endr
  cmpl $2, %eax
  ja 6f
  .irp r, 0,1,2,3,4,5,6,7
  kmovw (RETPROBE_VECTOR_MASKS + \r * 8)(%rsp), %k\r
  .endr
  jmp 7f
6:
  .irp r, 0,1,2,3,4,5,6,7
  kmovq (RETPROBE_VECTOR_MASKS + \r * 8)(%rsp), %k\r
  .endr
7:
  cmpl $0, (RETPROBE_VECTOR_MASKS + 64)(%rsp)
  je 3f
  .irp r, RETPROBE_LOW
  vmovdqa64 (\r * 64)(%rsp), %zmm\r
  .endr
  jmp 5f
3:
  vzeroupper
4:
  .irp r, RETPROBE_LOW
  movaps (\r * 64)(%rsp), %xmm\r
  .endr
5:
.endm

#endif  // RETPROBE_ARCH_X86_64_VECTORS_H_
