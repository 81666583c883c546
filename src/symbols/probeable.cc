// SPDX-License-Identifier: Apache-2.0
#include "symbols/probeable.h"

#include <elf.h>
#include <sys/auxv.h>

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace retprobe {
namespace {

// Completes "NAME ...".
constexpr char kReturnsTwice[] = "may return twice into the same frame";
constexpr char kNeverReturns[] = "never returns to its caller";
constexpr char kAsksForCaller[] = "looks at its return address";
constexpr char kOwnConvention[] = "has a calling convention of its own";
constexpr char kSwitchesStack[] = "continues on another stack";
constexpr char kUnwinder[] = "unwinds the stack from its caller";
constexpr char kGeneratedCallers[] =
    "is of a virtual machine, which looks for return addresses into its code";
constexpr char kStartup[] = "starts or ends a program, thread or module";
constexpr char kBeforeRseq[] =
    "is called in new threads before they have a CPU id of their own";
constexpr char kDynamicLinker[] = "is part of the dynamic linker";
constexpr char kVdso[] = "is part of the kernel's vdso";
constexpr char kOurselves[] = "is part of retprobe itself";
constexpr char kOcaml[] =
    "is OCaml code, whose collector knows frames by their return addresses";
constexpr char kGo[] = "is a Go function: these run on stacks that move";

struct Rule {
  absl::string_view name;  // with a '*' at the end: whatever starts so
  const char* reason;
};

// Names as in the symbol table, without glibc's prefix "__GI_".
constexpr Rule kRefusals[] = {
    // Replaced for our own use (probe/vfork_guard.h).
    {"vfork", kReturnsTwice},
    {"__vfork", kReturnsTwice},
    {"__libc_vfork", kReturnsTwice},

    // glibc's start_thread calls these before it registers the thread's rseq
    // area, whose CPU id is then 0 or that of the stack's previous owner.
    {"__ctype_init", kBeforeRseq},
    {"__lll_lock_wait_private", kBeforeRseq},
    {"__lll_lock_wake_private", kBeforeRseq},

    {"__tls_get_addr", kOwnConvention},
    {"___tls_get_addr", kOwnConvention},
    {"__tls_get_addr_slow", kOwnConvention},
    {"__xray_*", kOwnConvention},
    {"__morestack*", kOwnConvention},
    {"__rust_probestack", kOwnConvention},
    {"__x86_indirect_thunk_*", kOwnConvention},
    {"__x86_return_thunk", kOwnConvention},
    {"__llvm_retpoline_*", kOwnConvention},

    // What OCaml's linker and run-time library write in its convention; see
    // IsOcaml().
    {"caml_apply*", kOcaml},
    {"caml_curry*", kOcaml},
    {"caml_tuplify*", kOcaml},
    {"caml_send*", kOcaml},
    {"caml_program", kOcaml},
    {"caml_call_gc", kOcaml},
    {"caml_alloc1", kOcaml},
    {"caml_alloc2", kOcaml},
    {"caml_alloc3", kOcaml},
    {"caml_allocN", kOcaml},
    {"caml_c_call*", kOcaml},
    {"caml_raise_exn", kOcaml},
    {"caml_ml_array_bound_error", kOcaml},

    // Returned to, not called.
    {"__restore_rt", "is what a signal handler returns to"},
    {"__start_context", "is what a context's function returns to"},
    {"__push___start_context", "is what a context's function returns to"},

    {"unw_*", kUnwinder},
    {"__unw_*", kUnwinder},
    {"_Ux86_64_*", kUnwinder},
    {"_ULx86_64_*", kUnwinder},

    {"__libc_csu_*", kStartup},
    {"__libc_early_init", kStartup},
    {"_start", kStartup},
    {"start_thread", kStartup},
    {"__x86_cacheinfo", kStartup},  // ifuncs of use for their effect alone
    {"__x86_cpu_features", kStartup},
    {"_init", kStartup},
    {"_fini", kStartup},

    // Watched for modules that come and go (agent/loader_hook.h).
    {"_dl_catch_exception", kDynamicLinker},

    {"retprobe_*", kOurselves},
};

// Virtual machines whose functions are called by code that they generate. They
// find its frames, to collect garbage or to throw, by the return address that
// it left (HotSpot: JavaFrameAnchor; V8: ExitFrame), and give up over another.
constexpr absl::string_view kVirtualMachines[] = {
    "libjvm.so", "node", "nodejs", "libnode.so*", "libv8*",
};

// Functions whose return address must stay where the caller put it, or whose
// return nobody will see.
constexpr Rule kEntryOnly[] = {
    {"_ZN2v88internal*", kGeneratedCallers},
    {"setjmp", kReturnsTwice},
    {"_setjmp", kReturnsTwice},
    {"__setjmp", kReturnsTwice},
    {"sigsetjmp", kReturnsTwice},
    {"__sigsetjmp", kReturnsTwice},
    {"__libc_sigsetjmp", kReturnsTwice},
    {"savectx", kReturnsTwice},
    {"getcontext", kReturnsTwice},
    {"__getcontext", kReturnsTwice},

    {"longjmp", kNeverReturns},
    {"_longjmp", kNeverReturns},
    {"__longjmp", kNeverReturns},
    {"__libc_longjmp", kNeverReturns},
    {"siglongjmp", kNeverReturns},
    {"__libc_siglongjmp", kNeverReturns},
    {"__longjmp_chk", kNeverReturns},
    {"____longjmp_chk", kNeverReturns},
    {"__longjmp_cancel", kNeverReturns},
    {"setcontext", kNeverReturns},
    {"__setcontext", kNeverReturns},
    {"exit", kNeverReturns},
    {"_exit", kNeverReturns},
    {"__exit", kNeverReturns},
    {"_Exit", kNeverReturns},
    {"quick_exit", kNeverReturns},
    {"__new_quick_exit", kNeverReturns},
    {"__run_exit_handlers", kNeverReturns},
    {"abort", kNeverReturns},
    {"pthread_exit", kNeverReturns},
    {"__pthread_exit", kNeverReturns},
    {"thrd_exit", kNeverReturns},
    {"__do_cancel", kNeverReturns},
    {"__stack_chk_fail", kNeverReturns},
    {"__stack_chk_fail_local", kNeverReturns},
    {"__fortify_fail", kNeverReturns},
    {"__chk_fail", kNeverReturns},
    {"__libc_fatal", kNeverReturns},
    {"__assert", kNeverReturns},
    {"__assert_fail", kNeverReturns},
    {"__assert_fail_base", kNeverReturns},
    {"__assert_perror_fail", kNeverReturns},
    {"__libc_start_main", kNeverReturns},
    {"__libc_start_main_impl", kNeverReturns},
    {"__libc_start_call_main", kNeverReturns},
    {"_dl_signal_error", kNeverReturns},
    {"_dl_signal_exception", kNeverReturns},
    {"_dl_start", kNeverReturns},
    {"__cxa_pure_virtual", kNeverReturns},
    {"__cxa_deleted_virtual", kNeverReturns},
    {"__cxa_throw", kNeverReturns},
    {"__cxa_rethrow", kNeverReturns},
    {"__cxa_call_*", kNeverReturns},
    {"_ZSt17rethrow_exception*", kNeverReturns},
    {"_ZSt9terminatev", kNeverReturns},
    {"_ZN10__cxxabiv111__terminateEPFvvE", kNeverReturns},
    {"__pthread_unwind", kNeverReturns},
    {"__pthread_unwind_next", kNeverReturns},
    {"unwind_stop", kNeverReturns},

    {"dlopen", kAsksForCaller},
    {"__dlopen", kAsksForCaller},
    {"___dlopen", kAsksForCaller},
    {"dlmopen", kAsksForCaller},
    {"__dlmopen", kAsksForCaller},
    {"___dlmopen", kAsksForCaller},
    {"dlsym", kAsksForCaller},
    {"__dlsym", kAsksForCaller},
    {"___dlsym", kAsksForCaller},
    {"dlvsym", kAsksForCaller},
    {"__dlvsym", kAsksForCaller},
    {"___dlvsym", kAsksForCaller},
    {"__libc_dlopen_mode", kAsksForCaller},
    {"__libc_dlsym", kAsksForCaller},
    {"__libc_dlvsym", kAsksForCaller},
    {"mcount", kAsksForCaller},
    {"_mcount", kAsksForCaller},
    {"__fentry__", kAsksForCaller},
    {"__return__", kAsksForCaller},
    {"__sanitizer_cov_trace_*", kAsksForCaller},
    {"__tsan_func_*", kAsksForCaller},

    {"clone", kSwitchesStack},
    {"__clone", kSwitchesStack},
    {"clone3", kSwitchesStack},
    {"__clone3", kSwitchesStack},
    {"__clone3_internal", kSwitchesStack},
    {"swapcontext", kSwitchesStack},
    {"__swapcontext", kSwitchesStack},

    {"_Unwind_Resume*", kUnwinder},
    {"_Unwind_RaiseException*", kUnwinder},
    {"_Unwind_ForcedUnwind*", kUnwinder},
    {"_Unwind_Backtrace", kUnwinder},
    {"_Unwind_SjLj_*", kUnwinder},
};

bool Matches(absl::string_view wanted, absl::string_view name) {
  return absl::ConsumeSuffix(&wanted, "*") ? absl::StartsWith(name, wanted)
                                           : name == wanted;
}

// _ZN8retprobe1fEv, _ZNK8retprobe1C1fEv, _ZTWN8retprobe1vE,
// _ZThn8_N8retprobe...
bool InNamespaceRetprobe(absl::string_view mangled) {
  const size_t at = mangled.find("8retprobe");
  return absl::StartsWith(mangled, "_Z") && at < 12 &&
         (mangled[at - 1] == 'N' || mangled[at - 1] == 'K');
}

// The reason for the first name of `function` that one of `rules` is about, or
// null.
template <size_t kCount>
const char* FindRule(const Rule (&rules)[kCount], const Function& function) {
  const auto find = [&](absl::string_view name) -> const char* {
    name = absl::StripPrefix(name, "__GI_");
    for (const Rule& rule : rules) {
      if (Matches(rule.name, name)) return rule.reason;
    }
    return nullptr;
  };
  const char* reason = find(function.name);
  for (const std::string& alias : function.aliases) {
    if (reason == nullptr) reason = find(alias);
  }
  return reason;
}

bool IsOurs(const Function& function) {
  bool ours = InNamespaceRetprobe(function.name);
  for (const std::string& alias : function.aliases) {
    ours = ours || InNamespaceRetprobe(alias);
  }
  return ours;
}

const char* RefusalOfModule(const Module& module) {
  const uintptr_t linker = getauxval(AT_BASE);
  if ((linker != 0 && module.Contains(linker)) ||
      absl::StartsWith(module.name, "ld-linux") ||
      absl::StartsWith(module.name, "ld-musl")) {
    return kDynamicLinker;
  }
  const uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
  if ((vdso != 0 && module.Contains(vdso)) ||
      absl::StartsWith(module.name, "linux-vdso")) {
    return kVdso;
  }
  // Ours, or another copy: one trampoline cannot lead through another's.
  if (absl::StartsWith(module.name, "libretprobe")) return kOurselves;
  return nullptr;
}

// Go's linker marks what it makes with a note of this name.
bool BuiltByGo(const Module& module) {
  for (size_t i = 0; i < module.program_header_count; ++i) {
    const ElfW(Phdr)& header = module.program_headers[i];
    const uintptr_t begin = module.bias + header.p_vaddr;
    ElfW(Nhdr) note;
    if (header.p_type != PT_NOTE || header.p_filesz < sizeof(note) + 4 ||
        !module.Contains(begin)) {
      continue;
    }
    std::memcpy(&note, reinterpret_cast<void*>(begin), sizeof(note));
    if (note.n_namesz == 4 &&
        std::memcmp(reinterpret_cast<void*>(begin + sizeof(note)), "Go\0", 4) ==
            0) {
      return true;
    }
  }
  return false;
}

// camlModule__function_267, camlModule.function_267
bool IsOcaml(absl::string_view name) {
  return absl::ConsumePrefix(&name, "caml") && !name.empty() &&
         absl::ascii_isupper(name[0]);
}

absl::Status Refuse(absl::string_view name, const char* reason) {
  return absl::FailedPreconditionError(absl::StrCat(name, " ", reason));
}

}  // namespace

absl::Status Probeable(const Module& module, const Function& function) {
  if (const char* reason = RefusalOfModule(module)) {
    return Refuse(function.name, reason);
  }
  if (const char* reason = FindRule(kRefusals, function)) {
    return Refuse(function.name, reason);
  }
  if (IsOurs(function)) return Refuse(function.name, kOurselves);
  if (IsOcaml(function.name)) return Refuse(function.name, kOcaml);
  // C functions beside them, through cgo, have no package in their name.
  if (absl::StrContains(function.name, '.') && BuiltByGo(module)) {
    return Refuse(function.name, kGo);
  }
  return absl::OkStatus();
}

const char* WhyEntryOnly(const Module& module, const Function& function) {
  for (absl::string_view machine : kVirtualMachines) {
    if (Matches(machine, module.name)) return kGeneratedCallers;
  }
  return FindRule(kEntryOnly, function);
}

}  // namespace retprobe
