// SPDX-License-Identifier: Apache-2.0
#include "patch/entry_patch.h"

#include <doctest/doctest.h>
#include <execinfo.h>

#include <cstring>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "patch/detour_site.h"
#include "patch/entries.h"

namespace retprobe {
namespace {

using Entry = long (*)(long, long);

const std::pair<const char*, Entry> kPatchable[] = {
    {"patchable", entry_patchable},
    {"push", entry_push},
    {"endbr", entry_endbr},
    {"lea_rip", entry_lea_rip},
    {"load_rip", entry_load_rip},
    {"compare_rip", entry_compare_rip},
    {"short_condition", entry_short_condition},
    {"two_conditions", entry_two_conditions},
    {"near_condition", entry_near_condition},
    {"jrcxz", entry_jrcxz},
    {"loop", entry_loop},
    {"short_jump", entry_short_jump},
    {"tail_jump", entry_tail_jump},
    {"tail_jump_memory", entry_tail_jump_memory},
    {"call", entry_call},
    {"call_memory", entry_call_memory},
    {"nop5", entry_nop5},
    {"nops", entry_nops},
    {"mixed_nops", entry_mixed_nops},
    {"nop3", entry_nop3},
    {"endbr_nops", entry_endbr_nops},
    {"padded_three", entry_padded_three},
    {"padded_int3", entry_padded_int3},
    {"late_system_call", entry_late_system_call},
    {"call_register", entry_call_register},
    {"loop_to_first", entry_loop_to_first},
    {"endbr_loop", entry_endbr_loop},
    {"far_branch_target", entry_far_branch_target},
    {"far_branch_source", entry_far_branch_source},
    {"retry", entry_retry},
    {"early_system_call", entry_early_system_call},
    {"tight", entry_tight},
};

Detour Prepare(Entry function) {
  absl::StatusOr<Detour> detour =
      PrepareDetour(reinterpret_cast<void*>(function));
  REQUIRE_MESSAGE(detour.ok(), detour.status().ToString());
  return *detour;
}

void Arm(const Detour& detour) {
  const absl::Status status = ArmEntryPatches({&detour.patch, 1});
  REQUIRE_MESSAGE(status.ok(), status.ToString());
}

void Disarm(const Detour& detour) {
  const absl::Status status = DisarmEntryPatches({&detour.patch, 1});
  REQUIRE_MESSAGE(status.ok(), status.ToString());
}

std::vector<long> Results(Entry function) {
  std::vector<long> results;
  for (const long a : {0L, 1L, 2L, 77L}) {
    for (const long b : {0L, 5L, 100L}) results.push_back(function(a, b));
  }
  return results;
}

TEST_CASE("every kind of entry computes the same while it is armed") {
  for (const auto& [name, function] : kPatchable) {
    const auto& entry = name;  // clang 14 captures no binding
    CAPTURE(entry);
    const std::vector<long> expected = Results(function);
    const Detour detour = Prepare(function);
    CHECK(Results(function) == expected);
    CHECK(detour.count() == 0);
    Arm(detour);
    CHECK(Results(function) == expected);
    CHECK(detour.count() == 12);
    Disarm(detour);
    CHECK(Results(function) == expected);
    CHECK(detour.count() == 12);
  }
}

TEST_CASE("a function of one byte is patched into its padding") {
  const Detour detour = Prepare(entry_padded_one);
  Arm(detour);
  entry_padded_one(1, 2);
  CHECK(detour.count() == 1);
  Disarm(detour);
}

TEST_CASE("the jump goes behind endbr64, and over it only if it must") {
  const Detour behind = Prepare(entry_endbr);
  CHECK(behind.patch->address == behind.patch->function + 4);
  const absl::StatusOr<Detour> over =
      PrepareDetour(reinterpret_cast<void*>(entry_endbr_call));
  REQUIRE(over.ok());
  CHECK(over->patch->address == over->patch->function);
  CHECK(over->patch->patched == 5);
  const long expected = entry_endbr_call(&entry_callee_pointer, 4);
  Arm(*over);
  CHECK(entry_endbr_call(&entry_callee_pointer, 4) == expected);
  CHECK(over->count() == 1);
  Disarm(*over);
}

struct Kind {
  Entry function;
  int patched;
  int diversions;
};

TEST_CASE("an int3 is taken where a jump has no room") {
  const Kind kTraps[] = {
      {entry_unpadded_one, 1, 0},      {entry_before_nops, 1, 0},
      {entry_early_system_call, 1, 0}, {entry_breakpoint, 1, 0},
      {entry_runs_on, 1, 0},           {entry_tight, 1, 0},
  };
  for (const Kind& kind : kTraps) {
    const Detour detour = Prepare(kind.function);
    CHECK(detour.patch->patched == kind.patched);
    CHECK(detour.patch->traps());
    uint8_t before[16];
    std::memcpy(before, reinterpret_cast<void*>(detour.patch->address), 16);
    Arm(detour);
    const auto* now = reinterpret_cast<uint8_t*>(detour.patch->address);
    CHECK(now[0] == 0xcc);
    CHECK(std::memcmp(now + 1, before + 1, 15) == 0);
    if (kind.function != entry_breakpoint) {
      kind.function(1, 2);
      CHECK(detour.count() == 1);
    }
    Disarm(detour);
    CHECK(std::memcmp(now, before, 16) == 0);
    if (kind.function != entry_breakpoint) kind.function(1, 2);
    CHECK(detour.count() <= 1);
  }
}

TEST_CASE("a call can be thrown through behind an int3") {
  const absl::StatusOr<Detour> detour =
      PrepareDetour(reinterpret_cast<void*>(entry_early_call));
  REQUIRE(detour.ok());
  CHECK(detour->patch->traps());
  const long expected = entry_early_call(&entry_callee_pointer, 4);
  Arm(*detour);
  CHECK(entry_early_call(&entry_callee_pointer, 4) == expected);
  entry_hook = [](long) -> long { throw std::runtime_error("through"); };
  CHECK_THROWS_WITH(entry_early_call(&entry_callee_pointer, 4), "through");
  entry_hook = nullptr;
  CHECK(detour->count() == 2);
  Disarm(*detour);
}

TEST_CASE("branches into the displaced bytes are diverted to their copies") {
  const Kind kDiverted[] = {
      {entry_loop_into_itself, 5, 0},  // moved with the entry
      {entry_loop_to_first, 5, 0},    {entry_retry, 5, 1},
      {entry_loop_behind_five, 5, 0}, {entry_far_branch_target, 5, 1},
  };
  for (const Kind& kind : kDiverted) {
    const Detour detour = Prepare(kind.function);
    CHECK(detour.patch->patched == kind.patched);
    int diversions = 0;
    for (EntryPatch* p = detour.patch->diversion; p != nullptr;
         p = p->diversion) {
      CHECK(p->bypass() == 0);
      ++diversions;
    }
    CHECK(diversions == kind.diversions);
    CHECK(!detour.patch->traps());
  }
  // Who shares the tail of a function that is armed, and is itself not.
  const long expected = entry_far_branch_source(7, 8);
  const Detour target = Prepare(entry_far_branch_target);
  Arm(target);
  CHECK(entry_far_branch_source(7, 8) == expected);
  CHECK(target.count() == 0);
  const Detour source = Prepare(entry_far_branch_source);
  Arm(source);
  CHECK(entry_far_branch_source(7, 8) == expected);
  CHECK(source.count() == 1);
  Disarm(target);
  CHECK(entry_far_branch_source(7, 8) == expected);
  CHECK(source.count() == 2);
  Disarm(source);
}

TEST_CASE("a place that is patched already is left alone") {
  // The branch that shares the tail is the first instruction of a function.
  const long expected = entry_sharing(7, 8);
  const Detour target = Prepare(entry_shared);
  REQUIRE(target.patch->diversion != nullptr);
  CHECK(PrepareDetour(reinterpret_cast<void*>(entry_sharing))
            .status()
            .message() == "overlaps another function's patch");
  Arm(target);
  CHECK(entry_sharing(7, 8) == expected);
  CHECK(target.count() == 0);
  Disarm(target);
}

TEST_CASE("behind nops the body is the function itself") {
  const Detour detour = Prepare(entry_nops);
  CHECK(detour.patch->body() == detour.patch->function + 8);
  const Detour behind = Prepare(entry_endbr_nops);
  CHECK(behind.patch->body() == behind.patch->function + 9);
}

TEST_CASE("an entry that cannot be moved is refused with its reason") {
  const struct {
    Entry function;
    const char* reason;
  } kRefused[] = {
      {entry_breakpoint_first, "has a breakpoint (int3) at +0"},
      {entry_eip, "has an eip-relative operand at +0"},
  };
  for (const auto& [function, reason] : kRefused) {
    const auto& refusal = reason;  // clang 14 captures no binding
    CAPTURE(refusal);
    const absl::StatusOr<Detour> detour =
        PrepareDetour(reinterpret_cast<void*>(function));
    REQUIRE(!detour.ok());
    CHECK(detour.status().code() == absl::StatusCode::kFailedPrecondition);
    CHECK(std::string(detour.status().message()) == reason);
  }
}

TEST_CASE("memory that is not code is refused") {
  const absl::StatusOr<Detour> detour = PrepareDetour(&entry_data);
  REQUIRE(!detour.ok());
  CHECK(detour.status().message() == "is not in executable memory");
}

std::vector<void*> Backtrace() {
  std::vector<void*> frames(64);
  frames.resize(static_cast<size_t>(backtrace(frames.data(), 64)));
  return frames;
}

std::vector<void*> seen;

TEST_CASE("a call among the displaced bytes returns into the original code") {
  for (const Entry function : {entry_call, entry_call_memory}) {
    entry_hook = [](long value) {
      seen = Backtrace();
      return value;
    };
    const auto run = [&] { function(1, 2); };
    std::vector<void*> traces[2];
    const Detour detour = Prepare(function);
    // One call instruction for both rounds: clang unrolls a loop it can count.
    const volatile size_t rounds = std::size(traces);
    for (size_t round = 0; round < rounds; ++round) {
      run();
      traces[round] = seen;
      Arm(detour);
    }
    CHECK(detour.count() == 1);
    CHECK(traces[0].size() > 4);
    CHECK(traces[0] == traces[1]);

    entry_hook = [](long) -> long { throw std::runtime_error("through"); };
    CHECK_THROWS_WITH(function(1, 2), "through");
    entry_hook = nullptr;
    Disarm(detour);
  }
}

TEST_CASE("a patch is made once for a function and a site") {
  const Detour first = Prepare(entry_push);
  const absl::StatusOr<EntryPatch*> again =
      PrepareEntryPatch(first.patch->function, 0, first.site);
  REQUIRE(again.ok());
  CHECK(*again == first.patch);
  const Detour other = Prepare(entry_push);
  CHECK(other.patch != first.patch);
  Arm(first);
  CHECK(PrepareDetour(reinterpret_cast<void*>(entry_push)).status().message() ==
        "is patched for another site");
  CHECK(ArmEntryPatches({&other.patch, 1}).code() ==
        absl::StatusCode::kFailedPrecondition);
  Disarm(first);
  Arm(other);
  CHECK(entry_push(1, 2) == 10);
  CHECK(other.count() == 1);
  CHECK(first.count() == 0);
  Disarm(other);
}

TEST_CASE("arming twice and disarming twice change nothing more") {
  const Detour detour = Prepare(entry_nop3);
  Arm(detour);
  Arm(detour);
  CHECK(entry_nop3(1, 0) == 25);
  CHECK(detour.count() == 1);
  Disarm(detour);
  Disarm(detour);
  CHECK(entry_nop3(1, 0) == 25);
  CHECK(detour.count() == 1);
}

TEST_CASE("a batch with one bad entry leaves all as they were") {
  const Detour good = Prepare(entry_nop3);
  const Detour stale = Prepare(entry_endbr);
  const Detour owner = Prepare(entry_endbr);
  Arm(owner);
  EntryPatch* const batch[] = {good.patch, stale.patch};
  CHECK(!ArmEntryPatches(batch).ok());
  CHECK(!good.patch->armed);
  CHECK(entry_nop3(1, 0) == 25);
  CHECK(good.count() == 0);
  Disarm(owner);
}

}  // namespace
}  // namespace retprobe
