// SPDX-License-Identifier: Apache-2.0
//
// What LLVM's and nongnu's unwinders see of an interrupted frame by themselves,
// without any code of ours: the measure for walks that begin in the trampoline,
// or in a stub.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "flow/unwinders.h"
#include "trap_flag.h"

extern "C" {
void limits_function();
extern const char limits_pushed[];
}
asm(R"(
  .text
  .type limits_function, @function
limits_function:
  .cfi_startproc
  push %rbp
limits_pushed:
  .cfi_adjust_cfa_offset 8
  .cfi_offset %rbp, -16
  mov %rsp, %rbp
  .cfi_def_cfa_register %rbp
  nop
  pop %rbp
  .cfi_def_cfa %rsp, 8
  ret
  .cfi_endproc
  .size limits_function, . - limits_function
)");

namespace retprobe::test {
namespace {

// Frames that a walker sees from the instruction behind `push`, 1: none but
// that. LLVM's as it is (exact), or as our tests help it (unwinders.cc).
struct Seen {
  std::string walker;
  int frames;
};
uintptr_t g_place;
std::vector<Seen> g_seen;

// LLVM's, told the interrupted instruction.
int WalkByLlvmItself(const ucontext_t& interrupted) {
  static void* const library = dlopen("libunwind.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return 0;
  static const auto init = reinterpret_cast<int (*)(void*, const void*)>(
      dlsym(library, "unw_init_local"));
  static const auto step =
      reinterpret_cast<int (*)(void*)>(dlsym(library, "unw_step"));
  constexpr int kOrder[] = {REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RDI,
                            REG_RSI, REG_RBP, REG_RSP, REG_R8,  REG_R9,
                            REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
                            REG_R15, REG_RIP};
  uint64_t context[64] = {};
  std::transform(std::begin(kOrder), std::end(kOrder), context, [&](int from) {
    return static_cast<uint64_t>(interrupted.uc_mcontext.gregs[from]);
  });
  alignas(64) unsigned char cursor[4096];
  if (init(cursor, context) != 0) return 0;
  int frames = 1;
  while (frames < Trace::kMost && step(cursor) > 0) ++frames;
  return frames;
}

void OnStep(int, siginfo_t*, void* data) {
  const auto& context = *static_cast<const ucontext_t*>(data);
  const auto pc = static_cast<uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
  if (pc != g_place) return;
  StopStepping(data);
  for (const StackWalker& walker : StackWalkers()) {
    Trace trace;
    walker.walk(context, &trace);
    g_seen.push_back({walker.name, trace.count});
  }
  const int frames = WalkByLlvmItself(context);
  if (frames > 0) g_seen.push_back({"LLVM itself", frames});
}

void SeeFrom(void (*function)(), uintptr_t place) {
  StackWalkers();
  g_place = place;
  g_seen.clear();
  struct sigaction action = {};
  struct sigaction before;
  action.sa_sigaction = OnStep;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before);
  SetTrapFlag();
  function();
  sigaction(SIGTRAP, &before, nullptr);
  REQUIRE(!g_seen.empty());
}

TEST_CASE("who is interrupted behind a push has callers, but not to all") {
  SeeFrom(&limits_function, reinterpret_cast<uintptr_t>(limits_pushed));
  for (const Seen& seen : g_seen) {
    MESSAGE(seen.walker << ": " << seen.frames << " frames");
    // Goes by the rules before the instruction, unlike LLVM's from 19 on
    // (github.com/llvm/llvm-project, pull request 92291).
    if (seen.walker == "LLVM itself") continue;
    CHECK(seen.frames > 1);
  }
}

// nongnu's goes on with what rbp points to, which is not the caller's frame.
TEST_CASE("nobody sees the caller of code that has no table") {
  constexpr size_t kSize = 4096;
  void* const code = mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(code != MAP_FAILED);
  const auto function = reinterpret_cast<const char*>(&limits_function);
  std::memcpy(code, function, 7);  // to the ret
  REQUIRE(mprotect(code, kSize, PROT_READ | PROT_EXEC) == 0);
  SeeFrom(reinterpret_cast<void (*)()>(code),
          reinterpret_cast<uintptr_t>(code) +
              static_cast<uintptr_t>(limits_pushed - function));
  for (const Seen& seen : g_seen) {
    MESSAGE(seen.walker << ": " << seen.frames << " frames");
    if (seen.walker != "nongnu") CHECK(seen.frames <= 1);
  }
  munmap(code, kSize);
}

}  // namespace
}  // namespace retprobe::test
