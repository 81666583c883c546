// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/rseq.h>
#include <unistd.h>

#include <cstring>

#include "base/cpu_hot.h"

namespace retprobe {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif
#else
constexpr bool kThreadSanitizer = false;
#endif

int ReadPossibleCpus() {
  char list[4096];
  int highest = -1;
  const int fd = open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    const ssize_t size = read(fd, list, sizeof(list) - 1);
    close(fd);
    if (size > 0) {
      list[size] = '\0';
      highest = HighestCpu(list);
    }
  }
  if (highest >= 0) return highest + 1;
  // No sysfs (a bare chroot): as good as it gets.
  const long configured = sysconf(_SC_NPROCESSORS_CONF);
  return configured > 0 ? static_cast<int>(configured) : 1;
}

// One push for real: foreign owners of the registration, and emulators that
// only pretend, fail here and not later.
bool RseqWorks() {
  if (kThreadSanitizer || __rseq_size == 0) return false;
  uint64_t head = 0;
  uint64_t tail = 0;
  uint32_t entry = 0;
  for (int attempt = 0; attempt < 100; ++attempt) {
    const uint32_t cpu = arch::RseqCpu(__rseq_offset);
    if (static_cast<int32_t>(cpu) < 0) return false;
    const arch::RseqResult result =
        arch::RseqRingPush(cpu, &tail, &head, &entry, 0, 42, __rseq_offset);
    if (result == arch::RseqResult::kDone) return tail == 1 && entry == 42;
    if (result == arch::RseqResult::kFull) return false;
  }
  return false;
}

}  // namespace

int HighestCpu(const char* list) {
  int highest = -1;
  for (const char* at = list; *at != '\0';) {
    if (*at < '0' || *at > '9') {
      ++at;
      continue;
    }
    int id = 0;
    for (; *at >= '0' && *at <= '9'; ++at) {
      if (id < 1 << 24) id = id * 10 + (*at - '0');
    }
    if (id > highest) highest = id;
  }
  return highest;
}

int PossibleCpus() {
  static const int cpus = ReadPossibleCpus();
  return cpus;
}

bool RseqAvailable() {
  static const bool available = RseqWorks();
  return available;
}

void PrepareCurrentCpu() {
  static const bool prepared = [] {
    internal::rseq_offset = __rseq_offset;
    // relaxed: a short cut
    internal::rseq_knows_cpu.store(
        __rseq_size != 0 &&
            internal::fake_cpu.load(std::memory_order_relaxed) ==
                internal::kNoFakeCpu,
        std::memory_order_relaxed);
    void* vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (vdso == nullptr) return false;
    void* symbol = dlsym(vdso, "__vdso_getcpu");
    internal::VdsoGetCpu getcpu;
    static_assert(sizeof(getcpu) == sizeof(symbol));
    std::memcpy(&getcpu, &symbol, sizeof(getcpu));
    // relaxed: code, not data, is behind the pointer
    internal::vdso_getcpu.store(getcpu, std::memory_order_relaxed);
    return true;
  }();
  static_cast<void>(prepared);
}

FakeCpu::~FakeCpu() { SwitchTo(internal::kNoFakeCpu); }

void FakeCpu::SwitchTo(int cpu) {
  // relaxed: tests set it while nobody else runs
  internal::fake_cpu.store(cpu, std::memory_order_relaxed);
  internal::rseq_knows_cpu.store(__rseq_size != 0 &&
                                     cpu == internal::kNoFakeCpu &&
                                     internal::rseq_offset != 0,
                                 std::memory_order_relaxed);
}

}  // namespace retprobe
