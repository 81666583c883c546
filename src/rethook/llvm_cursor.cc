// SPDX-License-Identifier: Apache-2.0
#include "rethook/llvm_cursor.h"

#include <initializer_list>

namespace retprobe {
namespace {

// Places in the table of virtual functions; the first two are destructors.
enum Function { kGetRegister = 3, kSetRegister = 4, kStep = 8, kGetInfo = 9 };

constexpr int kPc = -1;  // UNW_REG_IP

const uintptr_t* TableOf(const _Unwind_Context* context) {
  return *reinterpret_cast<const uintptr_t* const*>(context);
}

template <typename F>
F* Virtual(const _Unwind_Context* context, Function function) {
  return reinterpret_cast<F*>(TableOf(context)[function]);
}

_Unwind_Word GetRegister(_Unwind_Context* context, int number) {
  return Virtual<_Unwind_Word(_Unwind_Context*, int)>(context, kGetRegister)(
      context, number);
}

void SetRegister(_Unwind_Context* context, int number, _Unwind_Word value) {
  Virtual<void(_Unwind_Context*, int, _Unwind_Word)>(context, kSetRegister)(
      context, number, value);
}

// unw_proc_info_t, with room for what later versions may add.
struct FrameInfo {
  uintptr_t begin, end;
  uintptr_t lsda;
  uintptr_t handler;
  uintptr_t more[12];
};

}  // namespace

bool IsLlvmCursor(_Unwind_Context* context, uintptr_t begin, uintptr_t end) {
  const auto inside = [&](uintptr_t address) {
    return address >= begin && address < end;
  };
  const auto table = reinterpret_cast<uintptr_t>(TableOf(context));
  if (table % sizeof(uintptr_t) != 0 || !inside(table) ||
      !inside(table + sizeof(uintptr_t) * (kGetInfo + 1))) {
    return false;
  }
  for (const Function function :
       {kGetRegister, kSetRegister, kStep, kGetInfo}) {
    if (!inside(TableOf(context)[function])) return false;
  }
  return true;
}

const Unwinder kLlvmCursor = {
    .get_gr = &GetRegister,
    .set_gr = &SetRegister,
    .get_ip = [](_Unwind_Context* context) -> _Unwind_Ptr {
      return GetRegister(context, kPc);
    },
    .get_ip_info = [](_Unwind_Context* context,
                      int* interrupted) -> _Unwind_Ptr {
      *interrupted = 0;  // as LLVM's own says
      return GetRegister(context, kPc);
    },
    .set_ip = [](_Unwind_Context* context,
                 _Unwind_Ptr pc) { SetRegister(context, kPc, pc); },
    .resume = nullptr,
    .forced_unwind = nullptr,
};

bool StepToCaller(_Unwind_Context* context, _Unwind_Personality_Fn* routine) {
  // The argument is that of later versions: not for tracing alone.
  if (Virtual<int(_Unwind_Context*, bool)>(context, kStep)(context, true) <=
      0) {
    return false;
  }
  FrameInfo info = {};
  Virtual<void(_Unwind_Context*, FrameInfo*)>(context, kGetInfo)(context,
                                                                 &info);
  *routine = reinterpret_cast<_Unwind_Personality_Fn>(info.handler);
  return true;
}

}  // namespace retprobe
