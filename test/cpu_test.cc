// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/rseq.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "affinity.h"
#include "base/membarrier.h"

namespace retprobe {
namespace {

TEST_CASE("the highest CPU of a list is an id, not a count") {
  CHECK(HighestCpu("0\n") == 0);
  CHECK(HighestCpu("0-1\n") == 1);
  CHECK(HighestCpu("0-3,8,152-167") == 167);
  CHECK(HighestCpu("5") == 5);
  CHECK(HighestCpu("9,2") == 9);
  CHECK(HighestCpu("") == -1);
  CHECK(HighestCpu("\n") == -1);
}

TEST_CASE("every CPU this process may use is possible") {
  const test::AffinityGuard affinity;
  CHECK(affinity.Nth(affinity.count() - 1) <
        static_cast<unsigned>(PossibleCpus()));
}

TEST_CASE("a pinned thread knows its CPU") {
  const test::AffinityGuard affinity;
  PrepareCurrentCpu();
  for (unsigned i = 0; i < affinity.count(); ++i) {
    test::PinTo(affinity.Nth(i));
    errno = 4711;
    CHECK(CurrentCpu() == static_cast<int>(affinity.Nth(i)));
    CHECK(errno == 4711);
  }
}

TEST_CASE("rseq is off when glibc was told to leave it") {
  const char* tunables = std::getenv("GLIBC_TUNABLES");
  const bool off =
      tunables != nullptr &&
      std::string_view(tunables).find("rseq=0") != std::string_view::npos;
  if (off) {
    CHECK(!RseqAvailable());
  } else if (__rseq_size != 0) {
    CHECK(RseqAvailable());
  } else {
    MESSAGE("no rseq here (valgrind, an emulator, seccomp)");
  }
}

TEST_CASE("tests can say which CPU it is") {
  {
    FakeCpu fake(7);
    CHECK(CurrentCpu() == 7);
    fake.SwitchTo(300);
    CHECK(CurrentCpu() == 300);
    std::thread([] { CHECK(CurrentCpu() == 300); }).join();
    fake.SwitchTo(-1);
    CHECK(CurrentCpu() == -1);
  }
  CHECK(CurrentCpu() < PossibleCpus());
  CHECK(CurrentCpu() >= 0);
}

TEST_CASE("a membarrier works once it is registered") {
  for (const auto barrier :
       {Membarrier::kMemory, Membarrier::kRseq, Membarrier::kSyncCore}) {
    const absl::Status status = RegisterMembarrier(barrier);
    if (!status.ok()) {
      MESSAGE(std::string(status.message()));
      CHECK(absl::IsUnimplemented(status));
      continue;
    }
    errno = 4711;
    CHECK(IssueMembarrier(barrier));
    CHECK(errno == 4711);
  }
}

}  // namespace
}  // namespace retprobe
