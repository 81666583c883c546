// SPDX-License-Identifier: Apache-2.0
#include "rethook/prepare.h"

#include <pthread.h>

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "base/membarrier.h"
#include "rethook/call_checks.h"
#include "rethook/entering.h"
#include "rethook/trampoline.h"

extern "C" {
ptrdiff_t retprobe_rseq_offset __attribute__((visibility("hidden")));
int32_t retprobe_vector_level __attribute__((visibility("hidden"))) = -1;
}

namespace retprobe {
namespace {

// Stands in for the rseq area of threads without one: the trampoline may always
// write its rseq_cs, and reads a CPU that no magazine belongs to.
struct UnregisteredRseq {
  uint32_t cpu_id_start;
  uint32_t cpu_id;
  uint64_t rseq_cs;
  uint64_t reserved[2];
};
thread_local UnregisteredRseq g_unregistered
    __attribute__((tls_model("initial-exec"))) = {0, ~0u, 0, {0, 0}};

int32_t VectorLevel() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return 3;
  }
  if (__builtin_cpu_supports("avx512f")) return 2;
  return __builtin_cpu_supports("avx") ? 1 : 0;
}

absl::Status Prepare() {
  absl::Status status = RegisterMembarrier(Membarrier::kMemory);
  if (status.ok() && RseqAvailable()) {
    status = RegisterMembarrier(Membarrier::kRseq);
  }
  if (!status.ok()) return status;
  retprobe_rseq_offset =
      RseqAvailable() ? RseqOffset()
                      : reinterpret_cast<char*>(&g_unregistered) -
                            static_cast<char*>(__builtin_thread_pointer());
  retprobe_vector_level = VectorLevel();
  pthread_atfork(nullptr, nullptr, [] {
    ForgetOtherEntering();
    ForgetThreadId();
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status PrepareTrampoline() {
  static const absl::Status* const prepared = new absl::Status(Prepare());
  return *prepared;
}

}  // namespace retprobe
