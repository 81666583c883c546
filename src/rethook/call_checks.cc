// SPDX-License-Identifier: Apache-2.0
#include "rethook/call_checks.h"

#include <sys/syscall.h>

#include <algorithm>

#include "arch/arch.h"
#include "rethook/caller.h"

namespace retprobe {
namespace {

// 0: not asked yet.
constinit thread_local int32_t g_thread_id
    __attribute__((tls_model("initial-exec"))) = 0;

int32_t ThreadId() {
  if (g_thread_id == 0) {
    g_thread_id = static_cast<int32_t>(arch::SystemCall(SYS_gettid));
  }
  return g_thread_id;
}

bool PassesThread(const CallChecks& checks) {
  const bool listed = std::binary_search(
      checks.threads, checks.threads + checks.thread_count, ThreadId());
  return listed == (checks.threads_rule == CallChecks::Threads::kOnly);
}

bool PassesCaller(const CallChecks& checks, uintptr_t call) {
  const AddressRange* const end = checks.callers + checks.caller_count;
  const AddressRange* const behind =
      std::upper_bound(checks.callers, end, call,
                       [](uintptr_t address, const AddressRange& range) {
                         return address < range.begin;
                       });
  return behind != checks.callers && call < behind[-1].end;
}

}  // namespace

bool Passes(const CallChecks& checks, const ReturnInstance& instance,
            const RegisterFrame& frame) {
  if (checks.threads_rule != CallChecks::Threads::kAny &&
      !PassesThread(checks)) {
    return false;
  }
  return checks.caller_count == 0 ||
         PassesCaller(checks,
                      CallerOf(frame.return_address, instance.saved_rbx) - 1);
}

void ForgetThreadId() { g_thread_id = 0; }

}  // namespace retprobe
