// SPDX-License-Identifier: Apache-2.0
#include "symbols/probeable.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "loaded_modules.h"
#include "symbols/function.h"

namespace retprobe {
namespace {

Module AnyModule() {
  Module module{};
  module.path = "/usr/lib/libany.so";
  module.name = "libany.so";
  return module;
}

// The reason, or "" when a function of this name may be probed.
std::string Reason(const std::string& name, const Module& module) {
  Function function;
  function.name = name;
  const absl::Status status = Probeable(module, function);
  if (status.ok()) return "";
  REQUIRE(status.code() == absl::StatusCode::kFailedPrecondition);
  return std::string(status.message());
}

std::string Reason(const std::string& name) {
  return Reason(name, AnyModule());
}

TEST_CASE("ordinary functions may be probed") {
  for (const char* name : {"malloc",
                           "free",
                           "strlen",
                           "fork",
                           "execve",
                           "execvp",
                           "dladdr",
                           "posix_spawn",
                           "pthread_create",
                           "system",
                           "main",
                           "write",
                           "_Znwm",
                           "setjmpx",
                           "clone_file",
                           "exit_handler",
                           "__libc_malloc",
                           "_ZN3app8retprobeEv",
                           "_ZN18retprobe_somethingEv",
                           "a.b"}) {
    CHECK_MESSAGE(Reason(name) == "", name);
  }
}

TEST_CASE("each kind of refusal has its reason") {
  CHECK(Reason("vfork") == "vfork may return twice into the same frame");
  CHECK(Reason("__tls_get_addr") ==
        "__tls_get_addr has a calling convention of its own");
  CHECK(Reason("__restore_rt") ==
        "__restore_rt is what a signal handler returns to");
  CHECK(Reason("__start_context") ==
        "__start_context is what a context's function returns to");
  CHECK(Reason("_start") ==
        "_start starts or ends a program, thread or module");
  CHECK(Reason("__ctype_init") ==
        "__ctype_init is called in new threads before they have a CPU id of "
        "their own");
  CHECK(Reason("_ZN8retprobe7ObjPool3PopEv") ==
        "_ZN8retprobe7ObjPool3PopEv is part of retprobe itself");
  CHECK(Reason("_ZNK8retprobe7ObjPool4SizeEv") != "");
  CHECK(Reason("retprobe_trampoline") != "");
}

// Why only the entry can be probed, or "".
std::string EntryOnly(const std::string& name) {
  Function function;
  function.name = name;
  CHECK(Probeable(AnyModule(), function).ok());
  const char* reason = WhyEntryOnly(AnyModule(), function);
  return reason == nullptr ? "" : reason;
}

TEST_CASE("what has no return to see can be probed at its entry") {
  CHECK(EntryOnly("_ZN2v88internal15Builtin_ConsoleEiPmPNS0_7IsolateE") ==
        "is of a virtual machine, which looks for return addresses into its "
        "code");
  Module machine = AnyModule();
  machine.name = "libjvm.so";
  Function function;
  function.name = "JVM_GC";
  CHECK(WhyEntryOnly(machine, function) != nullptr);
  CHECK(WhyEntryOnly(AnyModule(), function) == nullptr);
  CHECK(EntryOnly("_setjmp") == "may return twice into the same frame");
  CHECK(EntryOnly("longjmp") == "never returns to its caller");
  CHECK(EntryOnly("_exit") == "never returns to its caller");
  CHECK(EntryOnly("__cxa_throw") == "never returns to its caller");
  CHECK(EntryOnly("dlsym") == "looks at its return address");
  CHECK(EntryOnly("swapcontext") == "continues on another stack");
  CHECK(EntryOnly("_Unwind_RaiseException") ==
        "unwinds the stack from its caller");
  CHECK(EntryOnly("_Unwind_GetIP") == "");
  CHECK(EntryOnly("_dl_addr") == "");
  CHECK(EntryOnly("malloc") == "");
}

TEST_CASE("an alias refuses the function, and so does glibc's inner name") {
  Function function;
  function.name = "harmless";
  function.aliases = {"other", "vfork"};
  CHECK(Probeable(AnyModule(), function).message() ==
        "harmless may return twice into the same frame");
  CHECK(Reason("__GI_vfork") != "");
  CHECK(EntryOnly("__GI_dlsym") != "");
}

TEST_CASE("nothing of the dynamic linker, the vdso or retprobe is probed") {
  Module module = ModuleNamed("ld-linux");
  CHECK(Reason("calloc", module) == "calloc is part of the dynamic linker");
  module.name = "renamed";
  CHECK(Reason("calloc", module) == "calloc is part of the dynamic linker");
  module = AnyModule();
  module.name = "linux-vdso.so.1";
  CHECK(Reason("time", module) == "time is part of the kernel's vdso");
  module.name = "libretprobe_agent.so";
  CHECK(Reason("f", module) == "f is part of retprobe itself");
}

TEST_CASE("Go functions are refused, C functions beside them are not") {
  struct {
    ElfW(Nhdr) header = {4, 4, 4};
    char name[4] = {'G', 'o', 0, 0};
    char id[4] = {};
  } note;
  ElfW(Phdr) header{};
  header.p_type = PT_NOTE;
  header.p_filesz = sizeof(note);
  header.p_vaddr = reinterpret_cast<uintptr_t>(&note);
  Module module = AnyModule();
  module.begin = header.p_vaddr;
  module.end = module.begin + sizeof(note);
  module.program_headers = &header;
  module.program_header_count = 1;
  CHECK(Reason("runtime.mallocgc", module) ==
        "runtime.mallocgc is a Go function: these run on stacks that move");
  CHECK(Reason("x_cgo_init", module) == "");
  note.name[0] = 'X';
  CHECK(Reason("runtime.mallocgc", module) == "");
}

TEST_CASE("OCaml code is refused, the C functions of its library are not") {
  for (const char* name : {"camlStdlib__List__map_215", "camlA.fib_267",
                           "caml_apply2", "caml_call_gc", "caml_c_call"}) {
    CHECK(Reason(name) == std::string(name) +
                              " is OCaml code, whose collector knows frames " +
                              "by their return addresses");
  }
  for (const char* name : {"caml_alloc_small", "caml_main", "camlp", "caml",
                           "caml_alloc_string", "camera"}) {
    CHECK(Reason(name) == "");
  }
}

TEST_CASE("what libc exports is refused only for a known reason") {
  const Module libc = ModuleNamed("libc.so.6");
  size_t refused = 0;
  size_t allowed = 0;
  for (const Function& function : FunctionsOf(libc)) {
    ++(Probeable(libc, function).ok() ? allowed : refused);
  }
  MESSAGE("libc: " << allowed << " allowed, " << refused << " refused");
  CHECK(refused > 3);
  CHECK(refused < 15);
}

}  // namespace
}  // namespace retprobe
