// SPDX-License-Identifier: Apache-2.0
// What several probes of one function have each for themselves: data, and the
// activations that they saw begin. How functions are named, refused and listed.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "in_threads.h"
#include "probe/registry.h"
#include "retprobe/config.h"
#include "retprobe/return_probe.h"

extern "C" {

__attribute__((noinline, noclone)) long list_nested(long depth) {
  if (depth == 0) return 0;
  long below = list_nested(depth - 1);
  asm volatile("" : "+r"(below));  // no loop in its place
  return below + 1;
}

// Runs `inside` while it is under way.
__attribute__((noinline, noclone)) long list_outer(void (*inside)(void*),
                                                   void* argument) {
  inside(argument);
  asm volatile("");
  return 1;
}
}

asm(R"(
  .text
  .globl list_marked, list_plain
  .type list_marked, @function
  .type list_plain, @function
list_marked:
  endbr64
  movl $7, %eax
  ret
  .size list_marked, . - list_marked
  .balign 16
list_plain:
  movl $8, %eax
  ret
  .size list_plain, . - list_plain
)");
extern "C" long list_marked();
extern "C" long list_plain();

namespace retprobe {
namespace {

void* Address(auto* function) { return reinterpret_cast<void*>(function); }

size_t Out() { return Registry::Get().InstancesInUse(); }

struct Ends {
  std::atomic<long> entries{0};
  std::atomic<long> returns{0};
  std::atomic<long> wrong{0};
};

// Threads that stay inside list_outer until they may leave.
struct Meeting {
  std::atomic<int> inside{0};
  std::atomic<bool> leave{false};
};

void MeetInside(Meeting& meeting, int threads) {
  InNewThreads(threads, [&] {
    list_outer(
        [](void* data) {
          auto& meet = *static_cast<Meeting*>(data);
          ++meet.inside;
          while (!meet.leave) std::this_thread::yield();
        },
        &meeting);
  });
}

// A probe that marks both ends of its data with itself and the activation.
ReturnProbeOptions Marking(Ends& ends, size_t data_size, uint64_t mark) {
  ReturnProbeOptions options;
  options.data_size = data_size;
  const auto marks = [data_size](void* data) {
    return std::pair(static_cast<char*>(data),
                     static_cast<char*>(data) + data_size - sizeof(uint64_t));
  };
  options.entry_handler = [&ends, marks, mark](EntryContext& context) noexcept {
    const auto [first, last] = marks(context.data());
    const uint64_t own =
        mark + (reinterpret_cast<uint64_t>(context.frame()) << 8);
    std::memcpy(first, &own, sizeof(own));
    std::memcpy(last, &own, sizeof(own));
    ++ends.entries;
    return true;
  };
  options.return_handler = [&ends, marks,
                            mark](ReturnContext& context) noexcept {
    const auto [first, last] = marks(context.data());
    const uint64_t own =
        mark + (reinterpret_cast<uint64_t>(context.frame()) << 8);
    ends.wrong += std::memcmp(first, &own, sizeof(own)) != 0 ||
                  std::memcmp(last, &own, sizeof(own)) != 0;
    ++ends.returns;
  };
  return options;
}

TEST_CASE("64 probes of one function each have their data, of any size") {
  for (const size_t size : {size_t{8}, size_t{1000}, size_t{1} << 20}) {
    CAPTURE(size);
    Ends ends;
    std::vector<ReturnProbe> probes;
    for (uint64_t i = 0; i < 64; ++i) {
      auto probe = ReturnProbe::Attach(Address(&list_nested),
                                       Marking(ends, size + 8 * (i % 3), i));
      REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
      probes.push_back(*std::move(probe));
    }
    CHECK(absl::IsResourceExhausted(
        ReturnProbe::Attach(Address(&list_nested), {}).status()));
    long calls = 0;
    for (const int threads : {1, 2, 8}) {
      InNewThreads(threads, [] {
        for (int i = 0; i < 3; ++i) CHECK(list_nested(3) == 3);
      });
      calls += 3 * 4 * threads;
    }
    CHECK(ends.wrong == 0);
    CHECK(ends.entries == 64 * calls);
    CHECK(ends.returns == 64 * calls);
    for (const ReturnProbe& probe : probes) CHECK(probe.nmissed().total() == 0);
    probes.clear();
    CHECK(Out() == 0);
  }
}

TEST_CASE("data beyond what an instance can hold is refused, and no more") {
  Ends ends;
  auto half = ReturnProbe::Attach(Address(&list_nested),
                                  Marking(ends, size_t{1} << 29, 1));
  REQUIRE_MESSAGE(half.ok(), half.status().ToString());
  auto second = ReturnProbe::Attach(Address(&list_nested),
                                    Marking(ends, size_t{1} << 29, 2));
  CHECK(absl::IsInvalidArgument(second.status()));
  CHECK_MESSAGE(absl::StrContains(second.status().message(),
                                  "1073741824 bytes of data per activation; at "
                                  "most 1073737728 are possible"),
                second.status().ToString());
  CHECK(list_nested(2) == 2);
  CHECK(ends.entries == 3);
  CHECK(ends.returns == 3);
  CHECK(ends.wrong == 0);
}

TEST_CASE("without address space for the data the reason is told") {
  const pid_t child = fork();
  if (child == 0) {
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const size_t most = pages * 4096 + (size_t{3} << 30);
    const rlimit limit = {most, most};
    setrlimit(RLIMIT_AS, &limit);
    Ends ends;
    auto probe = ReturnProbe::Attach(Address(&list_nested),
                                     Marking(ends, size_t{200} << 20, 1));
    const bool told =
        absl::IsResourceExhausted(probe.status()) &&
        absl::StrContains(probe.status().message(), "no address space");
    auto small =
        ReturnProbe::Attach(Address(&list_nested), Marking(ends, 8, 1));
    list_nested(4);
    _exit(told && small.ok() && ends.returns == 5 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("a probe attached during a call has no return without its entry") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends first, second;
    auto probe =
        ReturnProbe::Attach(Address(&list_outer), Marking(first, 8, 1));
    REQUIRE(probe.ok());
    Meeting meeting;
    std::thread callers([&] { MeetInside(meeting, threads); });
    while (meeting.inside != threads) std::this_thread::yield();
    auto late =
        ReturnProbe::Attach(Address(&list_outer), Marking(second, 8, 2));
    REQUIRE_MESSAGE(late.ok(), late.status().ToString());
    meeting.leave = true;
    callers.join();
    CHECK(first.entries == threads);
    CHECK(first.returns == threads);
    CHECK(second.entries == 0);
    CHECK(second.returns == 0);
    list_outer([](void*) {}, nullptr);
    CHECK(second.returns == 1);
    CHECK(first.wrong + second.wrong == 0);
  }
  CHECK(Out() == 0);
}

TEST_CASE("a probe detached during a call has no return, the others have") {
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends first, second;
    auto stays =
        ReturnProbe::Attach(Address(&list_outer), Marking(first, 8, 1));
    auto goes =
        ReturnProbe::Attach(Address(&list_outer), Marking(second, 8, 2));
    REQUIRE(stays.ok());
    REQUIRE(goes.ok());
    Meeting meeting;
    std::thread callers([&] { MeetInside(meeting, threads); });
    while (meeting.inside != threads) std::this_thread::yield();
    goes->Detach();
    meeting.leave = true;
    callers.join();
    CHECK(first.returns == threads);
    CHECK(second.entries == threads);
    CHECK(second.returns == 0);
    CHECK(first.wrong == 0);
  }
  CHECK(Out() == 0);
}

TEST_CASE("a probe may be told by the offset that is the entry, and no other") {
  // Of a symbol with endbr64, and of one without.
  Ends ends;
  const auto attach = [&](const char* symbol) {
    return ReturnProbe::Attach(symbol, Marking(ends, 8, 1));
  };
  const auto message = [&](const char* symbol) {
    const absl::Status status = attach(symbol).status();
    CHECK(absl::IsInvalidArgument(status));
    return std::string(status.message());
  };
  for (const char* symbol :
       {"list_marked", "list_marked+0", "list_marked+0x4", "list_marked+4",
        "probe_list_test:list_marked+0x4", "list_plain+0x0"}) {
    CAPTURE(symbol);
    const long before = ends.returns;
    auto probe = attach(symbol);
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
    CHECK(list_marked() == 7);
    CHECK(list_plain() == 8);
    CHECK(ends.returns == before + 1);
    // The same again, from the patched code.
    if (absl::EndsWith(symbol, "4")) CHECK(attach("list_marked+0x4").ok());
  }
  CHECK(message("list_marked+0x5") ==
        "list_marked+0x5 is not where list_marked is entered; a return probe "
        "stands at list_marked or list_marked+0x4, behind its endbr64");
  CHECK(message("list_plain+0x4") ==
        "list_plain+0x4 is not where list_plain is entered; a return probe "
        "stands at list_plain");
  CHECK(message("list_plain+100") ==
        "list_plain+0x64 is behind the end of list_plain, which has 6 bytes");
  CHECK(absl::IsNotFound(attach("list_plain+").status()));
  CHECK(absl::IsNotFound(attach("list_plain+x").status()));
}

TEST_CASE("what is on the blacklist is refused, by any of its names") {
  Ends ends;
  const auto refused = [&](const char* symbol) {
    return std::string(
        ReturnProbe::Attach(symbol, Marking(ends, 8, 1)).status().message());
  };
  REQUIRE(SetConfigOptions("probe.blacklist=list_n*; libc.so.6:lab?;"
                           "libc.so.6:strlen;libnever.so:*")
              .ok());
  CHECK(refused("list_nested") ==
        "list_nested is on the blacklist (probe.blacklist: list_n*)");
  CHECK(refused("libc.so.6:labs") ==
        "labs is on the blacklist (probe.blacklist: libc.so.6:lab?)");
  CHECK(refused("libc.so.6:strlen") ==
        "strlen is on the blacklist (probe.blacklist: libc.so.6:strlen)");
  CHECK(refused("list_outer").empty());
  // By address, as a framework attaches.
  CHECK(absl::IsFailedPrecondition(
      ReturnProbe::Attach(Address(&list_nested), {}).status()));
  REQUIRE(SetConfigOptions("probe.blacklist=[a").ok());
  CHECK(absl::StrContains(refused("list_outer"), "probe.blacklist: pattern"));
  REQUIRE(SetConfigOptions("probe.blacklist=none").ok());
  CHECK(refused("list_nested").empty());
}

TEST_CASE("List tells of every attached probe, its state and its counts") {
  CHECK(ReturnProbe::List().empty());
  using State = ProbeInfo::State;
  for (const int threads : {1, 2, 8}) {
    CAPTURE(threads);
    Ends ends;
    auto plain =
        ReturnProbe::Attach(Address(&list_outer), Marking(ends, 24, 1));
    ReturnProbeOptions options = Marking(ends, 8, 2);
    options.max_hits = 2;
    options.stop_at_max_hits = true;
    auto counted =
        ReturnProbe::Attach(Address(&list_outer), std::move(options));
    options = Marking(ends, 8, 3);
    options.enabled = false;
    options.max_depth = 1;
    options.filter.threads = {0};
    auto nested =
        ReturnProbe::Attach(Address(&list_nested), std::move(options));
    REQUIRE(plain.ok());
    REQUIRE(counted.ok());
    REQUIRE(nested.ok());
    const auto info = [](void* function, size_t index) {
      for (const ProbeInfo& each : ReturnProbe::List()) {
        if (each.function == function && index-- == 0) return each;
      }
      FAIL("not listed");
      return ProbeInfo();
    };
    CHECK(ReturnProbe::List().size() == 3);
    CHECK(info(Address(&list_nested), 0).state == State::kDisabled);
    CHECK(info(Address(&list_nested), 0).filtered);
    CHECK(info(Address(&list_nested), 0).max_depth == 1);
    CHECK(info(Address(&list_outer), 0).probes_on_function == 2);
    CHECK(info(Address(&list_outer), 0).data_size == 24);
    CHECK(!info(Address(&list_outer), 0).entry_only);
    CHECK(!info(Address(&list_outer), 0).uses_trap);
    CHECK(!info(Address(&list_outer), 0).hits);
    CHECK(info(Address(&list_outer), 1).hits == 0u);
    nested->Enable();
    list_nested(3);
    CHECK(info(Address(&list_nested), 0).state == State::kEnabled);
    CHECK(info(Address(&list_nested), 0).missed.depth == 3);

    Meeting meeting;
    std::thread callers([&] { MeetInside(meeting, threads); });
    while (meeting.inside != threads) std::this_thread::yield();
    CHECK(info(Address(&list_outer), 0).under_way == size_t(threads));
    CHECK(info(Address(&list_nested), 0).under_way == 0);
    meeting.leave = true;
    callers.join();
    list_outer([](void*) {}, nullptr);
    list_outer([](void*) {}, nullptr);
    CHECK(info(Address(&list_outer), 0).under_way == 0);
    CHECK(info(Address(&list_outer), 0).state == State::kEnabled);
    CHECK(info(Address(&list_outer), 1).state == State::kUsedUp);
    CHECK(info(Address(&list_outer), 1).hits == 2u);
    options = {};
    options.entry_handler = [](EntryContext&) noexcept { return true; };
    auto at_entry =
        ReturnProbe::Attach("libc.so.6:_setjmp", std::move(options));
    REQUIRE_MESSAGE(at_entry.ok(), at_entry.status().ToString());
    CHECK(info(at_entry->function(), 0).entry_only);
    at_entry->Detach();
    plain->Detach();
    CHECK(ReturnProbe::List().size() == 2);
  }
  CHECK(ReturnProbe::List().empty());
  CHECK(Out() == 0);
}

}  // namespace
}  // namespace retprobe
