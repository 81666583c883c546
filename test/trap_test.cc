// SPDX-License-Identifier: Apache-2.0
#include "patch/trap.h"

#include <doctest/doctest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "patch/detour_site.h"
#include "patch/entries.h"
#include "patch/live_patch.h"
#include "patch/memory_file.h"

namespace retprobe {
namespace {

int traps;
struct sigaction chained;
sigjmp_buf away;

void Count(int) { ++traps; }

// Passes on what it counts, as a well-behaved handler does.
void CountAndChain(int signal, siginfo_t* info, void* context) {
  ++traps;
  if (chained.sa_flags & SA_SIGINFO) {
    chained.sa_sigaction(signal, info, context);
  }
}

void LeaveByJump(int) { siglongjmp(away, 1); }

void SetHandler(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigaction(SIGTRAP, &action, nullptr);
}

void Trap() { asm volatile("int3"); }

template <typename Work>
int StatusOfChild(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(10);
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST_CASE("a table finds what was inserted, the latest by address") {
  PatchTable table;
  CHECK(table.Find(0x1000) == nullptr);
  std::vector<EntryPatch> patches(5000);
  for (size_t i = 0; i < patches.size(); ++i) {
    patches[i].address = 0x1000 + 16 * i;
    table.Insert(&patches[i]);
  }
  for (const EntryPatch& patch : patches) {
    CHECK(table.Find(patch.address) == &patch);
    CHECK(table.Find(patch.address + 1) == nullptr);
  }
  EntryPatch later;
  later.address = 0x1000;
  table.Insert(&later);
  CHECK(table.Find(0x1000) == &later);
}

TEST_CASE("a trap that is not ours goes to the program's handler") {
  traps = 0;
  SetHandler(Count);
  REQUIRE(InstallTrapHandler().ok());
  Trap();
  raise(SIGTRAP);
  CHECK(traps == 2);
  // A handler set later is chained to by the next batch.
  traps = 0;
  SetHandler(Count);
  REQUIRE(InstallTrapHandler().ok());
  Trap();
  CHECK(traps == 1);
}

TEST_CASE("handlers that chain to each other come to an end") {
  const int status = StatusOfChild([] {
    SetHandler(SIG_DFL);
    if (!InstallTrapHandler().ok()) _exit(2);
    struct sigaction action = {};
    action.sa_sigaction = CountAndChain;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &chained);
    if (!InstallTrapHandler().ok()) _exit(2);
    Trap();
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTRAP);
}

TEST_CASE("a handler may leave by siglongjmp any number of times") {
  SetHandler(LeaveByJump);
  REQUIRE(InstallTrapHandler().ok());
  volatile int left = 0;
  while (left < 3) {
    if (sigsetjmp(away, 1) == 0) {
      Trap();
    } else {
      left = left + 1;
    }
  }
  CHECK(left == 3);
}

TEST_CASE("without a handler a foreign trap kills as it always did") {
  for (void (*action)(int) : {SIG_DFL, SIG_IGN}) {
    const int status = StatusOfChild([action] {
      SetHandler(action);
      if (!InstallTrapHandler().ok()) _exit(2);
      Trap();
    });
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGTRAP);
  }
  const int ignored = StatusOfChild([] {
    SetHandler(SIG_IGN);
    if (!InstallTrapHandler().ok()) _exit(2);
    raise(SIGTRAP);
  });
  CHECK(ignored == 0);
}

TEST_CASE("an int3 at an armed entry leads to the stub, whoever handled it") {
  const absl::StatusOr<Detour> detour =
      PrepareDetour(reinterpret_cast<void*>(entry_push));
  REQUIRE(detour.ok());
  REQUIRE(ArmEntryPatches({&detour->patch, 1}).ok());
  traps = 0;
  SetHandler(Count);
  REQUIRE(InstallTrapHandler().ok());
  const absl::StatusOr<MemoryFile> memory = MemoryFile::Open();
  REQUIRE(memory.ok());
  const uint8_t breakpoint = 0xcc;
  REQUIRE(memory->Write(detour->patch->address, &breakpoint, 1).ok());
  CHECK(entry_push(40, 2) == 49);
  CHECK(detour->count() == 1);
  CHECK(traps == 0);
  const uint8_t jump = 0xe9;
  REQUIRE(memory->Write(detour->patch->address, &jump, 1).ok());
  REQUIRE(DisarmEntryPatches({&detour->patch, 1}).ok());
}

}  // namespace
}  // namespace retprobe
