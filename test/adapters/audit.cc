// SPDX-License-Identifier: Apache-2.0
//
// LD_AUDIT: a library that the dynamic linker asks about bindings, and calls
// before each call that goes through a PLT. It has a namespace of its own, with
// its own libc and its own retprobe; what it cannot do is to see calls in
// programs linked with -z now, or compiled with -fno-plt.
//
// la_x86_64_gnu_pltenter is told where the return address is: lr_rsp. As long
// as it leaves `frame_size` as it is (-1) and la_symbind64 says NOPLTEXIT, the
// dynamic linker jumps to the function with the caller's frame as it stands.
// That is also the better way to hear of ends: for la_x86_64_gnu_pltexit it
// copies the arguments on the stack, of a size that somebody has to know, and
// calls from a frame of its own, and who throws is not reported.
//
// Do not hook what must not be: setjmp, vfork, _Unwind_*, and the like. This
// hooks calls of functions in audited_targets only.
#include <link.h>

#include <cstring>
#include <utility>

#include "audited.h"
#include "retprobe/rethook.h"

namespace {

using retprobe::EndReason;
using retprobe::Rethook;
using retprobe::ReturnContext;

constexpr uintptr_t kTargets = 1;  // cookies
constexpr uintptr_t kOthers = 0;

Rethook* g_rethook = nullptr;  // set before any target is called
AuditedCounts g_counts;

extern "C" const AuditedCounts* Counts() {
  g_counts.in_use = static_cast<long>(g_rethook->in_use());
  return &g_counts;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) unsigned la_version(unsigned) {
  return LAV_CURRENT;
}

__attribute__((visibility("default"))) unsigned la_objopen(link_map* map,
                                                           Lmid_t,
                                                           uintptr_t* cookie) {
  const bool targets = std::strstr(map->l_name, "audited_targets") != nullptr;
  *cookie = targets ? kTargets : kOthers;
  return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

// All is loaded, nothing of the program has run. (In la_version the dynamic
// linker is not ready for the dlopen that Create needs.)
__attribute__((visibility("default"))) void la_preinit(uintptr_t*) {
  Rethook::Options options;
  options.return_handler = [](ReturnContext& context) noexcept {
    auto& count = context.reason() == EndReason::kUnwound ? g_counts.unwound
                                                          : g_counts.returned;
    count.fetch_add(1, std::memory_order_relaxed);
  };
  auto rethook = Rethook::Create(std::move(options));
  if (rethook.ok()) g_rethook = rethook->release();
}

__attribute__((visibility("default"))) uintptr_t la_symbind64(
    Elf64_Sym* symbol, unsigned, uintptr_t*, uintptr_t* defined_by,
    unsigned* flags, const char* name) {
  *flags |= LA_SYMB_NOPLTEXIT;
  if (*defined_by != kTargets) *flags |= LA_SYMB_NOPLTENTER;
  if (std::strcmp(name, "audited_counts") != 0) return symbol->st_value;
  *flags |= LA_SYMB_NOPLTENTER;
  return reinterpret_cast<uintptr_t>(&Counts);
}

__attribute__((visibility("default"))) uintptr_t la_x86_64_gnu_pltenter(
    Elf64_Sym* symbol, unsigned, uintptr_t*, uintptr_t*, La_x86_64_regs* regs,
    unsigned*, const char*, long*) {
  Rethook::Instance* instance =
      g_rethook == nullptr ? nullptr : g_rethook->TryGet();
  if (instance != nullptr) {
    g_counts.entries.fetch_add(1, std::memory_order_relaxed);
    g_rethook->Hook(instance, reinterpret_cast<void**>(regs->lr_rsp),
                    reinterpret_cast<void*>(symbol->st_value));
  }
  return symbol->st_value;
}
}
