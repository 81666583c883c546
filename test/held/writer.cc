// SPDX-License-Identifier: Apache-2.0
#include "held/writer.h"

#include <linux/membarrier.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>
#include <optional>
#include <thread>

#include "patch/trap.h"
#include "retprobe/return_probe.h"

namespace retprobe::test {
namespace {

using Function = long (*)(long, long);

// A system call that means nothing else: the next step begins.
void Mark() { syscall(SYS_getppid); }

ReturnProbe Attach(Function function) {
  ReturnProbeOptions options;
  options.entry_handler = [](EntryContext&) noexcept { return true; };
  options.return_handler = [](ReturnContext&) noexcept {};
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(function),
                                   std::move(options));
  if (!probe.ok()) _exit(1);
  return *std::move(probe);
}

[[noreturn]] void Run(Function function, EntryPatch* patch) {
  std::thread([] {
    for (;;) pause();
  }).detach();
  // What is done once only is none of this.
  std::optional<ReturnProbe> probe = Attach(function);
  for (const uintptr_t behind : {0, 4}) {
    const EntryPatch* armed =
        ArmedPatches().Find(reinterpret_cast<uintptr_t>(function) + behind);
    if (armed != nullptr) *patch = *armed;
  }
  probe.reset();
  raise(SIGSTOP);
  Mark();
  probe = Attach(function);
  Mark();
  probe.reset();
  Mark();
  _exit(0);
}

class Tracer {
 public:
  Tracer(pid_t child, const EntryPatch& patch) : child_(child), patch_(patch) {}

  // Whether the child came to its end, or a step was left out.
  bool Follow(Requests* requests) {
    std::vector<Request>* const steps[] = {nullptr, &requests->attach,
                                           &requests->detach, nullptr};
    size_t step = 0;
    bool entry = true;
    user_regs_struct registers;
    while (Next()) {
      ptrace(PTRACE_GETREGS, child_, nullptr, &registers);
      if (entry && registers.orig_rax == SYS_getppid) ++step;
      if (entry && step < 3 && steps[step] != nullptr) {
        Note(registers, steps[step]);
      }
      entry = !entry;
    }
    return step == 3;
  }

 private:
  // To where the next system call begins or ends. False: there is none.
  bool Next() {
    int signal = 0;
    for (;;) {
      ptrace(PTRACE_SYSCALL, child_, nullptr, static_cast<long>(signal));
      int status = 0;
      if (waitpid(child_, &status, __WALL) != child_ || !WIFSTOPPED(status)) {
        return false;
      }
      signal = WSTOPSIG(status);
      if (signal == (SIGTRAP | 0x80)) return true;
      if (status >> 16 != 0 || signal == SIGSTOP) signal = 0;
    }
  }

  void Note(const user_regs_struct& call, std::vector<Request>* step) const {
    if (call.orig_rax == SYS_membarrier) {
      if (call.rdi == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
        step->push_back({Request::kMemory});
      } else if (call.rdi == MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE) {
        step->push_back({Request::kCores});
      }
    } else if (call.orig_rax == SYS_pwrite64 && call.r10 >= patch_.address &&
               call.r10 < patch_.address + patch_.patched) {
      Request request = {Request::kWrite, call.r10 - patch_.address};
      request.bytes.resize(call.rdx);
      const iovec here = {request.bytes.data(), call.rdx};
      const iovec there = {reinterpret_cast<void*>(call.rsi), call.rdx};
      process_vm_readv(child_, &here, 1, &there, 1, 0);
      step->push_back(std::move(request));
    }
  }

  const pid_t child_;
  const EntryPatch& patch_;
};

}  // namespace

Requests Watch(Function function) {
  Requests requests;
  void* shared = mmap(nullptr, sizeof(EntryPatch), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* patch = new (shared) EntryPatch;
  const pid_t child = fork();
  if (child == 0) {
    alarm(120);
    Run(function, patch);
  }
  int status = 0;
  waitpid(child, &status, WUNTRACED);
  if (!WIFSTOPPED(status)) {
    requests.unavailable = "the child could not attach a probe";
  } else if (ptrace(PTRACE_SEIZE, child, nullptr,
                    PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0) {
    requests.unavailable = "ptrace is not permitted";
    kill(child, SIGKILL);
  } else {
    requests.patch = *patch;
    kill(child, SIGCONT);
    waitpid(child, &status, __WALL);
    if (!Tracer(child, *patch).Follow(&requests)) {
      requests.unavailable = "the child did not come to its end";
    }
  }
  waitpid(child, &status, __WALL);
  munmap(shared, sizeof(EntryPatch));
  return requests;
}

}  // namespace retprobe::test
