// SPDX-License-Identifier: Apache-2.0
#include "flow/unwinders.h"

#include <dlfcn.h>
#include <unwind.h>

namespace retprobe::test {
namespace {

constexpr int kRbx = 3;
constexpr int kRbp = 6;

uintptr_t PcOf(const ucontext_t& context) {
  return static_cast<uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
}

// What was walked through before the interrupted instruction is the handler.
struct Collector {
  uintptr_t from;
  Trace* trace;
  void Visit(const Trace::Frame& frame) {
    if (trace->count > 0 || frame.pc == from) trace->Add(frame);
  }
};

void WalkByLibgcc(const ucontext_t& interrupted, Trace* trace) {
  Collector collector{PcOf(interrupted), trace};
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* data) {
        static_cast<Collector*>(data)->Visit({_Unwind_GetIP(context),
                                              _Unwind_GetGR(context, kRbx),
                                              _Unwind_GetGR(context, kRbp)});
        return _URC_NO_REASON;
      },
      &collector);
}

// libunwind's interface, which LLVM and nongnu share but for names and numbers.
// Both can begin at an interrupted instruction.
struct Libunwind {
  int (*init)(void* cursor, const void* context, int flags);
  int (*step)(void* cursor);
  int (*get_register)(void* cursor, int number, uintptr_t* value);
  int pc;

  bool complete() const {
    return init != nullptr && step != nullptr && get_register != nullptr;
  }

  void Walk(const void* context, Trace* trace) const {
    constexpr int kInterrupted = 1;  // LLVM's has no such argument
    alignas(64) unsigned char cursor[4096];
    if (init(cursor, context, kInterrupted) != 0) return;
    do {
      Trace::Frame frame = {};
      if (get_register(cursor, pc, &frame.pc) != 0 || frame.pc == 0) return;
      get_register(cursor, kRbx, &frame.rbx);
      get_register(cursor, kRbp, &frame.rbp);
      trace->Add(frame);
    } while (step(cursor) > 0);
  }
};

template <typename F>
void Look(void* library, const char* name, F** function) {
  *function = reinterpret_cast<F*>(dlsym(library, name));
}

Libunwind g_llvm;
Libunwind g_nongnu;

// Begins with LLVM's unw_context_t. LLVM's unwinder (version 14) takes every
// address for one behind a call and goes by the unwind rules before it, in a
// signal frame too; so this one begins a byte further on. (At the last byte of
// a function that is too far.)
void WalkByLlvm(const ucontext_t& interrupted, Trace* trace) {
  constexpr int kOrder[] = {REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RDI,
                            REG_RSI, REG_RBP, REG_RSP, REG_R8,  REG_R9,
                            REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
                            REG_R15, REG_RIP};
  uint64_t context[64] = {};
  size_t count = 0;
  for (const int number : kOrder) {
    context[count++] =
        static_cast<uint64_t>(interrupted.uc_mcontext.gregs[number]);
  }
  ++context[count - 1];
  g_llvm.Walk(context, trace);
  --trace->frames[0].pc;
}

bool LoadLlvm() {
  void* library = dlopen("libunwind.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return false;
  Look(library, "unw_init_local", &g_llvm.init);
  Look(library, "unw_step", &g_llvm.step);
  Look(library, "unw_get_reg", &g_llvm.get_register);
  g_llvm.pc = -1;
  return g_llvm.complete();
}

bool LoadNongnu() {
  void* library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return false;
  Look(library, "_ULx86_64_init_local2", &g_nongnu.init);
  Look(library, "_ULx86_64_step", &g_nongnu.step);
  Look(library, "_ULx86_64_get_reg", &g_nongnu.get_register);
  g_nongnu.pc = 16;
  return g_nongnu.complete();
}

}  // namespace

const std::vector<StackWalker>& StackWalkers() {
  static const std::vector<StackWalker> walkers = [] {
    std::vector<StackWalker> found = {{"libgcc", WalkByLibgcc, true}};
    if (LoadLlvm()) found.push_back({"LLVM", WalkByLlvm, false});
    if (LoadNongnu()) {
      found.push_back({"nongnu",
                       [](const ucontext_t& context, Trace* trace) {
                         g_nongnu.Walk(&context, trace);
                       },
                       false});
    }
    return found;
  }();
  return walkers;
}

}  // namespace retprobe::test
