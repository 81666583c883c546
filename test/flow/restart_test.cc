// SPDX-License-Identifier: Apache-2.0
//
// A thread that is preempted at the last moment of a restartable sequence, and
// goes on elsewhere: made to happen by the trap flag.
#include <sched.h>
#include <signal.h>
#include <ucontext.h>

#include <cstring>

#include "base/cpu.h"
#include "flow/flow.h"
#include "patch/instruction.h"
#include "rethook/trampoline.h"

FLOW_TARGET long restarted(long x) {
  FLOW_NO_TAIL_CALL;
  return x + 1;
}

namespace {

using retprobe::DecodeInstruction;
using retprobe::Instruction;

struct Sequence {  // the kernel's struct rseq_cs
  uint32_t version;
  uint32_t flags;
  uint64_t start;
  uint64_t length;
  uint64_t abort;
};

const Sequence* g_sequence;
bool g_moved;

void Pin(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof(one), &one);
}

// Lets the trampoline's first sequence run to before its last instruction, and
// begin again on CPU 1.
void OnTrap(int, siginfo_t*, void* data) {
  auto& registers = static_cast<ucontext_t*>(data)->uc_mcontext.gregs;
  greg_t& pc = registers[REG_RIP];
  const auto here = static_cast<uintptr_t>(pc);
  const auto* code = reinterpret_cast<const uint8_t*>(here);
  constexpr uint8_t kRegister[] = {0x64, 0x48, 0x89, 0x4a, 0x08};
  if (g_sequence == nullptr) {  // mov %rcx, %fs:8(%rdx)
    if (std::memcmp(code, kRegister, sizeof(kRegister)) != 0) return;
    g_sequence = reinterpret_cast<const Sequence*>(registers[REG_RCX]);
    pc += sizeof(kRegister);
    return;
  }
  Instruction instruction;
  if (!DecodeInstruction(code, 15, here, &instruction) ||
      here + instruction.length != g_sequence->start + g_sequence->length) {
    return;
  }
  Pin(1);
  pc = static_cast<greg_t>(g_sequence->abort);
  registers[REG_EFL] &= ~0x100;
  g_moved = true;
}

TEST_CASE("an instance that a preempted thread did not take is not out") {
  cpu_set_t before;
  sched_getaffinity(0, sizeof(before), &before);
  if (!retprobe::RseqAvailable() || !CPU_ISSET(0, &before) ||
      !CPU_ISSET(1, &before)) {
    return;
  }
  void* const functions[] = {flow::Address(&restarted)};
  watch_start(kWatchBare, functions, 1);
  for (const int cpu : {1, 0}) {  // something in both magazines
    Pin(cpu);
    for (int i = 0; i < 3; ++i) restarted(i);
  }
  struct sigaction action = {};
  struct sigaction old;
  action.sa_sigaction = OnTrap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &old);
  asm volatile(
      "lea -128(%%rsp), %%rsp\n\t"
      "pushfq\n\t"
      "orq $0x100, (%%rsp)\n\t"
      "popfq\n\t"
      "lea 128(%%rsp), %%rsp" ::
          : "memory", "cc");
  const long result = restarted(5);
  sigaction(SIGTRAP, &old, nullptr);
  CHECK(result == 6);
  CHECK(g_moved);
  CHECK(watch_look().out == 0);
  watch_stop();
  sched_setaffinity(0, sizeof(before), &before);
}

}  // namespace
