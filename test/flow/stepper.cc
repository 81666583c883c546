// SPDX-License-Identifier: Apache-2.0
#include "flow/stepper.h"

#include <dlfcn.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "flow/unwinders.h"
#include "patch/instruction.h"
#include "rethook/trampoline.h"
#include "symbols/unwind_table.h"

namespace retprobe::test {
namespace {

constexpr size_t kMostWalkers = 4;
constexpr size_t kMostWrong = 64;
constexpr size_t kTrampoline = 64 * 1024;  // bytes, at most
constexpr uint32_t kSignature = 0x53053053;
// Frames of one activation: the function, what it calls, the trampoline, what
// the trampoline calls.
constexpr int kMostBetween = 4;
// Walks from one instruction of the trampoline, of those in one Step().
constexpr uint8_t kMostWalks = 3;

uintptr_t Begin() { return reinterpret_cast<uintptr_t>(&retprobe_entry); }
uintptr_t End() {
  return reinterpret_cast<uintptr_t>(&retprobe_trampoline_end);
}

bool g_visited[kTrampoline];
uint8_t g_walks[kTrampoline];

struct Wrong {
  const StackWalker* walker;
  uintptr_t pc;
  int frames;
};

// What the signal handler works with; one Step() at a time.
struct {
  uintptr_t function;
  uintptr_t function_end;
  Trace callers[kMostWalkers];
  bool entered;
  int depth;
  uintptr_t begun[16];   // sections that were begun once
  uintptr_t last_begun;  // the one that was begun last
  Wrong wrong[kMostWrong];
  size_t wrong_count;
  long right;
} g_step;

// The length of an instruction that registers a restartable sequence,
// mov reg, %fs:8(reg); 0: this is another one.
int RegistersSection(uintptr_t pc) {
  const auto* code = reinterpret_cast<const uint8_t*>(pc);
  if (code[0] != 0x64 || (code[1] & 0xf8) != 0x48 || code[2] != 0x89 ||
      code[3] >> 6 != 1) {
    return 0;
  }
  const int length = (code[3] & 7) == 4 ? 6 : 5;
  return code[length - 1] == 8 ? length : 0;
}

bool FirstTime(uintptr_t pc) {
  for (uintptr_t& begun : g_step.begun) {
    if (begun == pc) return false;
    if (begun == 0) {
      begun = pc;
      return true;
    }
  }
  return false;
}

bool InTrampoline(uintptr_t pc) { return pc >= Begin() && pc < End(); }

bool InFunction(uintptr_t pc) {
  return pc >= g_step.function && pc < g_step.function_end;
}

// Where the kernel lets one of the trampoline's sequences begin again. (Those
// in the pool's C++ code begin again where no unwind table can tell the frame.)
bool AfterAbort(uintptr_t pc) {
  if (!InTrampoline(g_step.last_begun)) return false;
  uint32_t before;
  std::memcpy(&before, reinterpret_cast<const void*>(pc - 4), 4);
  return before == kSignature;
}

bool InStub(uintptr_t pc) {
  dl_find_object object;
  return _dl_find_object(reinterpret_cast<void*>(pc), &object) != 0;
}

bool OfInterest(uintptr_t pc) {
  if (InTrampoline(pc)) return g_walks[pc - Begin()]++ < kMostWalks;
  return InFunction(pc) || InStub(pc) || AfterAbort(pc);
}

// Whether `trace` leads to the callers of the function.
bool LeadsTo(const Trace& callers, const Trace& trace) {
  const int between = trace.count - callers.count;
  return between >= 1 && between <= kMostBetween * g_step.depth &&
         std::equal(callers.frames, callers.frames + callers.count,
                    trace.frames + between);
}

void WalkFrom(const ucontext_t& context, uintptr_t pc) {
  const std::vector<StackWalker>& walkers = StackWalkers();
  const bool stub = !InTrampoline(pc) && InStub(pc);
  for (size_t i = 0; i < walkers.size(); ++i) {
    if (stub && !walkers[i].sees_stubs) continue;
    Trace trace;
    walkers[i].walk(context, &trace);
    if (!g_step.entered && pc == g_step.function) {
      Trace& callers = g_step.callers[i];
      callers.count = std::max(0, trace.count - 1);
      std::copy(trace.frames + 1, trace.frames + trace.count, callers.frames);
    } else if (g_step.entered && LeadsTo(g_step.callers[i], trace)) {
      ++g_step.right;
    } else if (g_step.wrong_count < kMostWrong) {
      g_step.wrong[g_step.wrong_count++] = {&walkers[i], pc, trace.count};
    }
  }
  if (pc == g_step.function) g_step.entered = true;
}

void Visit(const ucontext_t& context) {
  const auto pc = static_cast<uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
  if (InTrampoline(pc)) g_visited[pc - Begin()] = true;
  if ((g_step.entered || pc == g_step.function) && OfInterest(pc)) {
    WalkFrom(context, pc);
  }
}

void OnTrap(int, siginfo_t*, void* data) {
  auto& context = *static_cast<ucontext_t*>(data);
  Visit(context);
  greg_t& pc = context.uc_mcontext.gregs[REG_RIP];
  const auto here = static_cast<uintptr_t>(pc);
  const int length = RegistersSection(here);
  if (length == 0) return;
  g_step.last_begun = here;
  if (FirstTime(here)) return;
  pc += length;
  Visit(context);
}

void FlipTrapFlag() {
  asm volatile(
      "lea -128(%%rsp), %%rsp\n\t"
      "pushfq\n\t"
      "xorq $0x100, (%%rsp)\n\t"
      "popfq\n\t"
      "lea 128(%%rsp), %%rsp" ::
          : "memory", "cc");
}

// "entry+0x12", "stub+0x5", "function+0x2", "abort of entry".
std::string Place(uintptr_t pc) {
  if (InTrampoline(pc)) {
    return absl::StrCat("trampoline+0x", absl::Hex(pc - Begin()));
  }
  if (InFunction(pc)) {
    return absl::StrCat("function+0x", absl::Hex(pc - g_step.function));
  }
  if (InStub(pc)) {
    const auto* code = reinterpret_cast<const uint8_t*>(pc);
    return absl::StrCat("stub, at bytes ", absl::Hex(code[0], absl::kZeroPad2),
                        absl::Hex(code[1], absl::kZeroPad2));
  }
  return absl::StrCat("abort handler 0x", absl::Hex(pc));
}

}  // namespace

void Stepper::Step(const void* function, absl::FunctionRef<void()> call,
                   int depth) {
  static std::mutex turns;
  const std::lock_guard<std::mutex> turn(turns);
  StackWalkers();
  if (End() - Begin() > kTrampoline) std::abort();
  g_step = {};
  g_step.depth = depth;
  std::fill(std::begin(g_walks), std::end(g_walks), 0);
  const FunctionBounds bounds =
      BoundsFromUnwindTable(reinterpret_cast<uintptr_t>(function));
  g_step.function = bounds.begin;
  g_step.function_end = bounds.end;
  struct sigaction action = {};
  struct sigaction before;
  action.sa_sigaction = OnTrap;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before);
  FlipTrapFlag();
  call();
  FlipTrapFlag();
  sigaction(SIGTRAP, &before, nullptr);
  right_ += g_step.right;
  for (size_t i = 0; i < g_step.wrong_count; ++i) {
    const Wrong& wrong = g_step.wrong[i];
    wrong_.push_back(absl::StrCat(wrong.walker->name, " at ", Place(wrong.pc),
                                  ": ", wrong.frames, " frames"));
  }
}

void Stepper::Pause() { FlipTrapFlag(); }

std::vector<std::string> Stepper::NotVisited() {
  std::vector<std::string> places;
  for (uintptr_t pc = Begin(); pc < End();) {
    Instruction instruction;
    if (!DecodeInstruction(reinterpret_cast<const uint8_t*>(pc), End() - pc, pc,
                           &instruction)) {
      places.push_back(absl::StrCat(Place(pc), " cannot be decoded"));
      break;
    }
    // Nops fill up; ud1 is a signature for the kernel.
    const bool runs = instruction.kind != Instruction::Kind::kNop &&
                      instruction.kind != Instruction::Kind::kStop;
    if (runs && !g_visited[pc - Begin()]) places.push_back(Place(pc));
    pc += instruction.length;
  }
  return places;
}

}  // namespace retprobe::test
