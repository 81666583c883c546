// SPDX-License-Identifier: Apache-2.0
// usage: probed_calls no_handler|return|entry_return
//
// Makes kCalls probed calls in MeasuredCalls(), for count.py to count their
// instructions under callgrind. There the kernel's restartable sequences are
// missing; with one thread and no signal a CPU number that never changes is as
// good as theirs, and the trampoline takes its usual way.
#include <sys/mman.h>
#include <sys/rseq.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

#include "retprobe/return_probe.h"

namespace {

constexpr int kCalls = 1000;

// Makes glibc's registration look as if it had worked.
bool PretendRseq() {
  auto* thread = static_cast<char*>(__builtin_thread_pointer());
  auto* area = reinterpret_cast<struct rseq*>(thread + __rseq_offset);
  if (__rseq_size != 0) return true;  // it did work
  area->cpu_id = 0;
  area->cpu_id_start = 0;
  // The dynamic linker has made it read-only.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto* size = const_cast<unsigned*>(&__rseq_size);
  auto* begin =
      reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(size) & -page);
  if (mprotect(begin, page, PROT_READ | PROT_WRITE) != 0) return false;
  *static_cast<volatile unsigned*>(size) = 32;
  return true;
}

}  // namespace

extern "C" {
__attribute__((noinline)) long MeasuredFunction(long x) {
  asm volatile("" : "+r"(x));
  return x * 3 + 1;
}

__attribute__((noinline)) void MeasuredCalls() {
  for (int i = 0; i < kCalls; ++i) MeasuredFunction(i);
}
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const bool entry = std::strcmp(argv[1], "entry_return") == 0;
  const bool leave = entry || std::strcmp(argv[1], "return") == 0;
  if (!leave && std::strcmp(argv[1], "no_handler") != 0) return 2;
  if (!PretendRseq()) return std::perror("__rseq_size"), 1;

  retprobe::ReturnProbeOptions options;
  options.handlers_leave_vectors_alone = true;
  if (entry)
    options.entry_handler = [](retprobe::EntryContext&) noexcept {
      return true;
    };
  if (leave) options.return_handler = [](retprobe::ReturnContext&) noexcept {};
  auto probe = retprobe::ReturnProbe::Attach(
      reinterpret_cast<void*>(&MeasuredFunction), std::move(options));
  if (!probe.ok())
    return std::fprintf(stderr, "%s\n", probe.status().ToString().c_str()), 1;
  // The first call fills the magazine.
  for (int i = 0; i < 10; ++i) MeasuredFunction(i);
  MeasuredCalls();
  const auto missed = probe->nmissed().total();
  if (missed != 0) std::fprintf(stderr, "%lu calls missed\n", missed);
  return missed != 0;
}
