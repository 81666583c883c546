// SPDX-License-Identifier: Apache-2.0
#include "base/cpu_hot.h"

#include <sys/rseq.h>
#include <sys/syscall.h>

#include "base/cpu.h"

namespace retprobe {
namespace internal {

ptrdiff_t rseq_offset = 0;
std::atomic<bool> rseq_knows_cpu{false};
std::atomic<int> fake_cpu{kNoFakeCpu};
std::atomic<VdsoGetCpu> vdso_getcpu{nullptr};

}  // namespace internal

int CurrentCpu() noexcept {
  // relaxed: tests set it while nobody else runs
  const int fake = internal::fake_cpu.load(std::memory_order_relaxed);
  if (fake != internal::kNoFakeCpu) return fake;
  const int cpu = static_cast<int>(arch::RseqCpu(__rseq_offset));
  if (__rseq_size != 0 && cpu >= 0) return cpu;
  unsigned id = 0;
  // relaxed: code, not data, is behind the pointer
  const auto getcpu = internal::vdso_getcpu.load(std::memory_order_relaxed);
  const long error =
      getcpu != nullptr
          ? getcpu(&id, nullptr, nullptr)
          : arch::SystemCall(SYS_getcpu, reinterpret_cast<long>(&id));
  return error == 0 ? static_cast<int>(id) : -1;
}

}  // namespace retprobe
