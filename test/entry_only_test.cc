// SPDX-License-Identifier: Apache-2.0
// Probes on functions that have no return to see.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <setjmp.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ends.h"
#include "status_of_child.h"

// A function that BOLT, say, has split in two.
asm(R"(
  .text
  .type reach_whole, @function
reach_whole:
  .cfi_startproc
  push %rdi
  .cfi_def_cfa_offset 16
  jmp reach_part
  .cfi_endproc
  .type reach_part, @function
reach_part:
  .cfi_startproc
  .cfi_def_cfa_offset 16
  mov $5, %eax
  add (%rsp), %rax
  add $8, %rsp
  .cfi_def_cfa_offset 8
  ret
  .cfi_endproc
)");
extern "C" long reach_whole(long);
extern "C" const char reach_part[];

namespace retprobe {
namespace {

// Probes `symbol` and runs `work`; how often it was entered, or -1.
template <typename Work>
long Entered(const char* symbol, Work work) {
  Ends ends;
  auto probe = ReturnProbe::Attach(symbol, ends.Options());
  CHECK_MESSAGE(probe.ok(), probe.status().ToString());
  if (!probe.ok()) return -1;
  CHECK(probe->entry_only());
  for (const int threads : {1, 2, 8}) InNewThreads(threads, work);
  CHECK(ends.returned == 0);
  CHECK(ends.unwound == 0);
  CHECK(probe->nmissed().total() == 0);
  return ends.entered;
}

jmp_buf* Environment() {
  static thread_local jmp_buf environment;
  return &environment;
}

TEST_CASE("setjmp and longjmp can be probed at their entry") {
  const auto round_trip = [] {
    volatile int rounds = 0;
    if (_setjmp(*Environment()) < 3) {
      rounds = rounds + 1;
      longjmp(*Environment(), rounds);
    }
    CHECK(rounds == 3);
  };
  CHECK(Entered("libc.so.6:_setjmp", round_trip) >= 11);  // and new threads
  CHECK(Entered("libc.so.6:longjmp", round_trip) == 33);
  CHECK(Out() == 0);
}

TEST_CASE("what throws and unwinds can be probed at its entry") {
  const auto round_trip = [] {
    try {
      throw std::runtime_error("caught");
    } catch (const std::runtime_error& error) {
      CHECK(error.what() == std::string("caught"));
    }
  };
  CHECK(Entered("libstdc++.so.6:__cxa_throw", round_trip) == 11);
  CHECK(Entered("libgcc_s.so.1:_Unwind_RaiseException", round_trip) == 11);
  CHECK(Out() == 0);
}

TEST_CASE("who asks for its caller is still told") {
  void* const expected = dlsym(RTLD_NEXT, "strtol");
  CHECK(Entered("libc.so.6:dlsym", [expected] {
          CHECK(dlsym(RTLD_NEXT, "strtol") == expected);
        }) == 11);
}

TEST_CASE("contexts can be switched by a probed swapcontext") {
  CHECK(Entered("libc.so.6:swapcontext", [] {
          static thread_local ucontext_t main, other;
          static thread_local int reached;
          std::vector<char> stack(64 << 10);
          reached = 0;
          getcontext(&other);
          other.uc_stack.ss_sp = stack.data();
          other.uc_stack.ss_size = stack.size();
          other.uc_link = &main;
          makecontext(
              &other, [] { ++reached; }, 0);
          swapcontext(&main, &other);
          CHECK(reached == 1);
        }) == 11);
  CHECK(Out() == 0);
}

TEST_CASE("exit can be probed at its entry, in vain by a return handler") {
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {};
  const auto refused =
      ReturnProbe::Attach("libc.so.6:exit", std::move(options));
  CHECK(refused.status().code() == absl::StatusCode::kFailedPrecondition);
  const int status = StatusOfChild([] {
    ReturnProbeOptions at_entry;
    at_entry.maxactive = 1;
    at_entry.entry_handler = [](EntryContext& context) noexcept {
      context.set_argument(0, context.argument(0) + 40);
      return true;
    };
    auto probe = ReturnProbe::Attach("libc.so.6:exit", std::move(at_entry));
    if (probe.ok()) std::exit(2);
    return false;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 42);
}

TEST_CASE("a part of a function, which goes on in its frame, is refused") {
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext&) noexcept {};
  const auto probe =
      ReturnProbe::Attach(const_cast<char*>(reach_part), std::move(options));
  CHECK(probe.status() ==
        absl::FailedPreconditionError(
            "begins inside a frame: it is a part of another function"));
  CHECK(reach_whole(4) == 9);
  CHECK(Out() == 0);
}

}  // namespace
}  // namespace retprobe
