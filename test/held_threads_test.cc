// SPDX-License-Identifier: Apache-2.0
//
// Threads that stand still at any instruction of a probed call while the probe
// comes and goes: held by ptrace, or in a signal handler that does not return.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "held/tracee.h"
#include "patch/entries.h"
#include "rethook/trampoline.h"

namespace retprobe {
namespace {

using test::Tracee;

struct Target {
  const char* name;
  test::Entry function;
  long expected;
  uintptr_t jump;                 // offset of the jump
  std::vector<uintptr_t> inside;  // where instructions begin behind it
};
const Target kTargets[] = {
    {"push", entry_push, 49, 0, {1, 4}},
    {"endbr", entry_endbr, 51, 4, {6}},
    {"condition", entry_short_condition, 140, 0, {3}},
    {"call", entry_call, 86, 0, {1}},
    {"nops", entry_nops, 62, 0, {1, 2, 3, 4}},
    {"nop3", entry_nop3, 64, 0, {3}},
};

uintptr_t Address(const Target& target) {
  return reinterpret_cast<uintptr_t>(target.function);
}

// All the ways in which a probe may come and go meanwhile.
const std::vector<Tracee::Command> kSequences[] = {
    {Tracee::kAttach},
    {Tracee::kAttach, Tracee::kDetach},
    {Tracee::kAttach, Tracee::kDetach, Tracee::kAttach},
};

void DoAll(Tracee& tracee, const std::vector<Tracee::Command>& commands) {
  for (const Tracee::Command command : commands) {
    REQUIRE_MESSAGE(tracee.Do(command), tracee.message());
  }
}

// Whether the next call, by then with `live` probe or without, is right too.
void CheckNextCall(Tracee& tracee, const Target& target, bool live) {
  const long entries = tracee.entries();
  REQUIRE(tracee.HoldAt(Address(target), /*breakpoint=*/false));
  CHECK(tracee.Finish() == target.expected);
  CHECK(tracee.entries() == entries + live);
}

bool Skip(const Tracee& tracee) {
  if (tracee.unavailable()[0] != '\0')
    MESSAGE("skipped: ", tracee.unavailable());
  return tracee.unavailable()[0] != '\0';
}

TEST_CASE("a thread held between the displaced instructions goes on right") {
  for (const Target& target : kTargets) {
    CAPTURE(std::string(target.name));
    Tracee tracee(target.function, /*punning=*/true);
    if (Skip(tracee)) return;
    for (const uintptr_t inside : target.inside) {
      CAPTURE(inside);
      for (const auto& sequence : kSequences) {
        CAPTURE(sequence.size());
        const long entries = tracee.entries();
        REQUIRE(tracee.HoldAt(Address(target) + inside, false));
        DoAll(tracee, sequence);
        CHECK(tracee.Finish() == target.expected);
        CHECK(tracee.entries() == entries);
        const bool live = sequence.size() % 2 != 0;
        CheckNextCall(tracee, target, live);
        if (live) DoAll(tracee, {Tracee::kDetach});
        CheckNextCall(tracee, target, false);
      }
    }
    CHECK(tracee.in_use() == 0);
  }
}

TEST_CASE("a handler that interrupted the displaced instructions goes back") {
  for (const bool punning : {true, false}) {
    for (const Target& target : kTargets) {
      CAPTURE(punning);
      CAPTURE(std::string(target.name));
      Tracee tracee(target.function, punning);
      if (Skip(tracee)) return;
      for (const uintptr_t inside : target.inside) {
        CAPTURE(inside);
        for (const auto& sequence : kSequences) {
          CAPTURE(sequence.size());
          REQUIRE(tracee.HoldAt(Address(target) + inside, false));
          tracee.ParkInHandler();
          DoAll(tracee, sequence);
          tracee.Leave();
          CHECK(tracee.Finish() == target.expected);
          const bool live = sequence.size() % 2 != 0;
          CheckNextCall(tracee, target, live);
          if (live) DoAll(tracee, {Tracee::kDetach});
        }
      }
    }
  }
}

// Where it cannot trap and cannot be moved, there is no way but to refuse.
TEST_CASE("a stopped thread that cannot trap ends the attempt in time") {
  for (const Target& target : kTargets) {
    CAPTURE(std::string(target.name));
    Tracee tracee(target.function, /*punning=*/false);
    if (Skip(tracee)) return;
    for (const uintptr_t inside : target.inside) {
      CAPTURE(inside);
      REQUIRE(tracee.HoldAt(Address(target) + inside, false));
      CHECK(!tracee.Do(Tracee::kAttach));
      const std::string message = tracee.message();
      CHECK_MESSAGE(message.find("UNAVAILABLE") == 0, message);
      CHECK_MESSAGE(message.find("is stopped") != std::string::npos, message);
      CHECK(tracee.Finish() == target.expected);
      // Let go while it is asked for: that is in time.
      REQUIRE(tracee.HoldAt(Address(target) + inside, false));
      REQUIRE(tracee.Ask(Tracee::kAttach));
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      CHECK(tracee.Finish() == target.expected);
      const bool attached = tracee.Await();
      CHECK_MESSAGE(
          (attached || std::string(tracee.message()).find("UNAVAILABLE") == 0),
          tracee.message());
      if (!attached) DoAll(tracee, {Tracee::kAttach});
      CheckNextCall(tracee, target, true);
      DoAll(tracee, {Tracee::kDetach});
    }
  }
}

// Every place of a probed call at which nothing but the call itself holds on.
std::vector<uintptr_t> Places(const Target& target, const EntryPatch& patch) {
  std::vector<uintptr_t> places = {
      Address(target) + target.jump,
      patch.stub,
      patch.stub + 5,
      patch.stub + 15,
      reinterpret_cast<uintptr_t>(&retprobe_entry),
      patch.body(),
      reinterpret_cast<uintptr_t>(&retprobe_return),
  };
  // Nops have no copies that are executed.
  for (const uint8_t copy : patch.moved) {
    if (copy != 0 && patch.body() - patch.stub < 100) {
      places.push_back(patch.stub + copy);
    }
  }
  return places;
}

TEST_CASE("a thread held anywhere on its way through a probe goes on right") {
  const std::vector<Tracee::Command> kSince[] = {
      {Tracee::kDetach},
      {Tracee::kDetach, Tracee::kAttach},
      {Tracee::kDisable, Tracee::kEnable, Tracee::kDetach, Tracee::kAttach,
       Tracee::kDetach},
  };
  for (const Target& target : kTargets) {
    CAPTURE(std::string(target.name));
    Tracee tracee(target.function, /*punning=*/true);
    if (Skip(tracee)) return;
    DoAll(tracee, {Tracee::kAttach});
    for (const uintptr_t place : Places(target, tracee.patch())) {
      CAPTURE(place - tracee.patch().stub);
      for (const auto& since : kSince) {
        CAPTURE(since.size());
        const long returns = tracee.returns();
        const long entries = tracee.entries();
        REQUIRE(tracee.HoldAt(
            place, /*breakpoint=*/place != Address(target) + target.jump));
        DoAll(tracee, since);
        CHECK(tracee.Finish() == target.expected);
        // No return without an entry; not more than one of each.
        CHECK(tracee.returns() - returns <= tracee.entries() - entries);
        CHECK(tracee.entries() - entries <= 1);
        if (since.size() % 2 != 0) DoAll(tracee, {Tracee::kAttach});
        CheckNextCall(tracee, target, true);
      }
    }
    DoAll(tracee, {Tracee::kDetach});
    CHECK(tracee.in_use() == 0);
  }
}

}  // namespace
}  // namespace retprobe
