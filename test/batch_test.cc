// SPDX-License-Identifier: Apache-2.0
// Many probes at once: what is done for each of them, and what once for all.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "probe/registry.h"
#include "retprobe/return_probe.h"

namespace {

// Files that this thread has opened: the process's memory and threads, when
// code is changed.
thread_local int opened;

template <int kNumber>
__attribute__((noinline, noclone)) long Add(long value) {
  asm volatile("");
  return value + 3 * kNumber;
}

}  // namespace

// In place of libc's; also for the library, which is linked statically.
extern "C" int open64(const char* path, int flags, ...) {
  ++opened;
  va_list list;
  va_start(list, flags);
  const int mode = (flags & O_CREAT) != 0 ? va_arg(list, int) : 0;
  va_end(list);
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

namespace retprobe {
namespace {

using Function = long (*)(long);
constexpr size_t kFunctions = 16;

template <size_t... kNumbers>
std::array<Function, kFunctions> Functions(std::index_sequence<kNumbers...>) {
  return {&Add<static_cast<int>(kNumbers)>...};
}
const std::array<Function, kFunctions> kTargets =
    Functions(std::make_index_sequence<kFunctions>());

struct Counts {
  std::atomic<long> entries{0};
  std::atomic<long> returns{0};
  std::atomic<long> late{0};
  std::atomic<bool> gone{false};

  // Two probes on each function; one of each goes the way through C++.
  std::vector<ReturnProbe> Attach() {
    std::vector<ReturnProbe::Request> requests;
    for (size_t i = 0; i < 2 * kFunctions; ++i) {
      ReturnProbeOptions options;
      options.entry_handler = [this](EntryContext&) noexcept {
        ++entries;
        // relaxed: a load like any other of what Detach lets go.
        if (gone.load(std::memory_order_relaxed)) ++late;
        return true;
      };
      options.return_handler = [this](ReturnContext&) noexcept {
        ++returns;
        // relaxed: as above.
        if (gone.load(std::memory_order_relaxed)) ++late;
      };
      options.saved_arguments = static_cast<int>(i % 2);
      requests.push_back(
          {reinterpret_cast<void*>(kTargets[i / 2]), std::move(options)});
    }
    std::vector<ReturnProbe> probes;
    for (auto& probe : ReturnProbe::AttachAll(absl::MakeSpan(requests))) {
      REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
      probes.push_back(*std::move(probe));
    }
    return probes;
  }
};

// Threads that call all targets without pause.
class Callers {
 public:
  explicit Callers(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Call(); });
  }
  // Returns how many results were wrong.
  long Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return wrong_;
  }

 private:
  void Call() {
    while (!stop_) {
      for (size_t i = 0; i < kFunctions; ++i) {
        wrong_ += kTargets[i](5) != 5 + 3 * static_cast<long>(i);
      }
    }
  }
  std::atomic<bool> stop_{false};
  std::atomic<long> wrong_{0};
  std::vector<std::thread> threads_;
};

TEST_CASE("no handler of a batch runs once DetachAll has returned") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Callers callers(threads);
    for (int round = 0; round < 5; ++round) {
      Counts counts;
      std::vector<ReturnProbe> probes = counts.Attach();
      while (counts.entries < 200) sched_yield();
      ReturnProbe moved = std::move(probes[3]);  // not of the batch
      ReturnProbe::DetachAll(absl::MakeSpan(probes).subspan(0, 8));
      CHECK(ReturnProbe::List().size() == 2 * kFunctions - 7);
      const long before = counts.entries;
      while (counts.entries < before + 200) sched_yield();  // the others go on
      probes[3] = std::move(moved);
      ReturnProbe::DetachAll(absl::MakeSpan(probes));
      counts.gone = true;
      sched_yield();
      CHECK(counts.late == 0);
    }
    CHECK(callers.Stop() == 0);
    CHECK(Registry::Get().InstancesInUse() == 0);
    CHECK(ReturnProbe::List().empty());
  }
}

TEST_CASE("what a batch's handlers hold goes with it, and all calls end") {
  Counts counts;
  std::vector<ReturnProbe> probes = counts.Attach();
  auto held = std::make_shared<int>(1);
  ReturnProbeOptions options;
  options.return_handler = [held](ReturnContext&) noexcept {};
  auto holding = ReturnProbe::Attach(reinterpret_cast<void*>(kTargets[0]),
                                     std::move(options));
  REQUIRE(holding.ok());
  probes.push_back(*std::move(holding));
  for (Function function : kTargets) function(1);
  CHECK(held.use_count() == 2);
  ReturnProbe::DetachAll(absl::MakeSpan(probes));
  CHECK(held.use_count() == 1);
  CHECK(counts.entries == 2 * kFunctions);
  CHECK(counts.returns == counts.entries);
  for (Function function : kTargets) function(1);
  CHECK(counts.entries == 2 * kFunctions);
  ReturnProbe::DetachAll(absl::MakeSpan(probes));  // once more: nothing to do
  ReturnProbe::DetachAll({});
}

TEST_CASE("a batch is written at once") {
  for (const int threads : {0, 8}) {
    CAPTURE(threads);
    Callers callers(threads);
    Counts counts;
    std::vector<ReturnProbe> probes = counts.Attach();
    opened = 0;
    ReturnProbe::DetachAll(absl::MakeSpan(probes));
    const int together = opened;
    probes = counts.Attach();
    opened = 0;
    probes.clear();
    const int one_by_one = opened;
    CHECK(together > 0);
    CHECK(one_by_one >= static_cast<int>(kFunctions) * together);
    CHECK(callers.Stop() == 0);
  }
}

}  // namespace
}  // namespace retprobe
