// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CLOBBER_VECTORS_H_
#define RETPROBE_TEST_CLOBBER_VECTORS_H_

namespace retprobe::test {

// Whether this machine has AVX-512BW.
inline bool HasAvx512() { return __builtin_cpu_supports("avx512bw") != 0; }

// Sets all bits of every vector and mask register, as a handler that uses
// AVX-512 may. Requires: HasAvx512().
__attribute__((target("avx512f,avx512bw"))) inline void ClobberVectors() {
  asm volatile(
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,"
      "24,25,26,27,28,29,30,31\n"
      "vpternlogd $0xff, %%zmm\\r, %%zmm\\r, %%zmm\\r\n"
      ".endr\n"
      ".irp r, 0,1,2,3,4,5,6,7\n"
      "kxnorq %%k\\r, %%k\\r, %%k\\r\n"
      ".endr\n" ::
          : "memory");
}

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_CLOBBER_VECTORS_H_
