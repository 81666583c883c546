// SPDX-License-Identifier: Apache-2.0
#include "agent/live.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "agent/system_calls.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

namespace retprobe::agent {
namespace {

constexpr size_t kPage = 4096;
Live* live_page = nullptr;
session::RingHeader* ring_memory = nullptr;

bool Failed(long result) { return result < 0 && result > -4096; }

Live* MapWipedOnFork() {
  const long page = Syscall(SYS_mmap, nullptr, kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (Failed(page)) return nullptr;
  if (Failed(Syscall(SYS_madvise, page, kPage, MADV_WIPEONFORK))) {
    Syscall(SYS_munmap, page, kPage);
    return nullptr;
  }
  return reinterpret_cast<Live*>(page);
}

// A file beyond the limit would not merely fail, but raise SIGXFSZ.
bool WithinFileLimit(size_t size) {
  rlimit limit = {};
  Syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, nullptr, &limit);
  return size <= limit.rlim_cur;
}

}  // namespace

bool SetUpLive(const session::Setup& setup) {
  if (live_page == nullptr && (live_page = MapWipedOnFork()) == nullptr) {
    return false;
  }
  Live& live = *live_page;
  live.cycle_counter = (setup.flags & session::kFlagCycleCounter) != 0;
  live.cpus = setup.cpus;
  // Never 0, and another after every fork.
  live.generation = static_cast<uint32_t>(Syscall(SYS_getpid));
  live.nanoseconds_per_tick_q32 = setup.nanoseconds_per_tick_q32;
  g_live = live_page;
  return true;
}

void Arm() {
  // R3 -> A3 (agent/handlers.cc): the rings, which were mapped when handlers
  // were running already.
  __atomic_store_n(&g_live->armed, 1, __ATOMIC_RELEASE);
}

void* MapShared(size_t size, void* address, int* descriptor) {
  if (!WithinFileLimit(size)) return nullptr;
  const long file = Syscall(SYS_memfd_create, "retprobe", MFD_CLOEXEC);
  if (Failed(file)) return nullptr;
  long memory = -1;
  if (!Failed(Syscall(SYS_ftruncate, file, size))) {
    memory = Syscall(
        SYS_mmap, address, size, PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_NORESERVE | (address != nullptr ? MAP_FIXED : 0), file,
        0);
  }
  if (Failed(memory)) {
    Syscall(SYS_close, file);
    return nullptr;
  }
  *descriptor = static_cast<int>(file);
  return reinterpret_cast<void*>(memory);
}

int MapRings(const session::Setup& setup) {
  const size_t stride = sizeof(session::EventRing) +
                        setup.ring_capacity * sizeof(session::EventRecord);
  const size_t size = kPage + setup.cpus * stride;
  int descriptor = -1;
  void* memory = MapShared(size, ring_memory, &descriptor);
  if (memory == nullptr) return -1;
  ring_memory = static_cast<session::RingHeader*>(memory);
  auto* first = reinterpret_cast<char*>(memory) + kPage;
  for (uint32_t cpu = 0; cpu < setup.cpus; ++cpu) {
    auto* records = reinterpret_cast<session::EventRecord*>(
        first + cpu * stride + sizeof(session::EventRing));
    for (uint32_t i = 1; i < setup.ring_capacity; ++i) {
      records[i].sequence = i;
    }
  }
  *ring_memory = {
      session::kMagic, session::kVersion,   size, g_live->generation,
      setup.cpus,      setup.ring_capacity, 0,    kPage,
      stride};
  g_live->ring_stride = stride;
  g_live->ring_capacity = setup.ring_capacity;
  g_live->rings = reinterpret_cast<session::EventRing*>(first);
  return descriptor;
}

}  // namespace retprobe::agent
