// SPDX-License-Identifier: Apache-2.0
//
// What lies between the steps of attaching and detaching, looked at step by
// step: the code that other threads may fetch, the barriers, and handlers of
// threads that stand still anywhere in the trampoline meanwhile.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "held/tracee.h"
#include "held/writer.h"
#include "patch/entries.h"
#include "patch/instruction.h"
#include "patch/live_patch.h"
#include "patch/relocate.h"
#include "rethook/left_frame.h"
#include "rethook/trampoline.h"

namespace retprobe {
namespace {

using test::Request;
using test::Tracee;
using Bytes = std::array<uint8_t, kJumpSize>;

// An entry while it changes, as other threads may see it.
class ChangingCode {
 public:
  ChangingCode(const EntryPatch& patch, const Bytes& now) : patch_(patch) {
    for (size_t i = 0; i < kJumpSize; ++i) seen_[i] = {now[i]};
    EncodePatch(patch, jump_.data());
  }

  void Write(const Request& request) {
    for (size_t i = 0; i < request.bytes.size(); ++i) {
      seen_.at(request.offset + i).push_back(request.bytes[i]);
    }
  }

  // From now on nobody executes what had been there before.
  void Synchronize() {
    for (std::vector<uint8_t>& byte : seen_) byte = {byte.back()};
  }
  bool synchronized() const {
    return std::all_of(seen_.begin(), seen_.end(),
                       [](const auto& byte) { return byte.size() == 1; });
  }

  bool Is(const Bytes& bytes) const {
    for (size_t i = 0; i < kJumpSize; ++i) {
      if (seen_[i].back() != bytes[i]) return false;
    }
    return true;
  }

  // Whether a thread executes nothing but the old instructions, the jump, and
  // int3, wherever an instruction begins and whatever it sees of each byte.
  bool IsRight() const {
    Bytes mixture;
    return Try(0, mixture);
  }

  const Bytes& jump() const { return jump_; }

 private:
  bool Try(size_t index, Bytes& mixture) const {
    if (index == kJumpSize) return IsRight(mixture);
    return std::all_of(seen_[index].begin(), seen_[index].end(),
                       [&](uint8_t byte) {
                         mixture[index] = byte;
                         return Try(index + 1, mixture);
                       });
  }

  bool IsRight(const Bytes& code) const {
    for (size_t at = 0; at < kJumpSize; ++at) {
      if (at > 0 && patch_.moved[at] == 0) continue;  // inside an instruction
      if (code[at] == 0xcc || (at == 0 && code == jump_)) continue;
      Instruction old;
      if (!DecodeInstruction(patch_.original + at, sizeof(patch_.original) - at,
                             patch_.address + at, &old)) {
        return false;
      }
      const size_t end = std::min(at + old.length, kJumpSize);
      if (!std::equal(code.begin() + at, code.begin() + end,
                      patch_.original + at)) {
        return false;
      }
    }
    return true;
  }

  const EntryPatch& patch_;
  std::array<std::vector<uint8_t>, kJumpSize> seen_;
  Bytes jump_ = {};
};

const test::Entry kEntries[] = {entry_push, entry_endbr, entry_short_condition,
                                entry_call, entry_nops,  entry_nop3};

void CheckSteps(const EntryPatch& patch, const std::vector<Request>& requests,
                const Bytes& from, const Bytes& to) {
  ChangingCode code(patch, from);
  size_t writes = 0;
  for (const Request& request : requests) {
    if (request.kind == Request::kWrite) {
      CAPTURE(writes);
      code.Write(request);
      CHECK(code.IsRight());
      ++writes;
    } else if (request.kind == Request::kCores) {
      code.Synchronize();
    }
  }
  CHECK(writes >= 3);
  CHECK(code.synchronized());
  CHECK(code.Is(to));
}

TEST_CASE("code that changes is right at every step, whatever is seen of it") {
  for (const test::Entry function : kEntries) {
    CAPTURE(reinterpret_cast<const void*>(function));
    const test::Requests requests = test::Watch(function);
    if (!requests.unavailable.empty()) {
      MESSAGE("skipped: ", requests.unavailable);
      return;
    }
    const EntryPatch& patch = requests.patch;
    REQUIRE(patch.patched == kJumpSize);
    for (size_t i = 1; i < kJumpSize; ++i) {
      REQUIRE((patch.moved[i] == 0 || patch.TrapsAt(i)));
    }
    Bytes original;
    std::memcpy(original.data(), patch.original, kJumpSize);
    const Bytes jump = ChangingCode(patch, original).jump();
    CheckSteps(patch, requests.attach, original, jump);
    CheckSteps(patch, requests.detach, jump, original);
    // Detach's other barrier: behind all that tells threads that the probe is
    // dead (rethook/dispatch.cc, Begin).
    REQUIRE(!requests.detach.empty());
    CHECK(requests.detach.back().kind == Request::kMemory);
  }
}

// Where instructions of the trampoline begin.
std::vector<uintptr_t> Instructions() {
  std::vector<uintptr_t> all;
  const auto end = reinterpret_cast<uintptr_t>(&retprobe_trampoline_end);
  for (auto pc = reinterpret_cast<uintptr_t>(&retprobe_entry); pc < end;) {
    Instruction instruction;
    if (!DecodeInstruction(reinterpret_cast<const uint8_t*>(pc), end - pc, pc,
                           &instruction)) {
      break;
    }
    all.push_back(pc);
    pc += instruction.length;
  }
  return all;
}

TEST_CASE("no handler begins after Detach in a thread held anywhere") {
  Tracee tracee(entry_push, /*punning=*/true);
  if (tracee.unavailable()[0] != '\0') {
    MESSAGE("skipped: ", tracee.unavailable());
    return;
  }
  REQUIRE_MESSAGE(tracee.Do(Tracee::kAttach), tracee.message());
  const std::vector<uintptr_t> places = tracee.PlacesOnTheWay(Instructions());
  int held = 0;
  int waited = 0;
  for (const uintptr_t place : places) {
    CAPTURE(place - reinterpret_cast<uintptr_t>(&retprobe_entry));
    // Some are passed only by who has been interrupted at another one.
    if (!tracee.HoldAt(place, /*breakpoint=*/true)) continue;
    ++held;
    tracee.Ask(Tracee::kDetach);
    // Where a handler is about to run Detach waits: long enough to tell.
    const bool gone = tracee.DoneWithin(std::chrono::milliseconds(20));
    const long entries = tracee.entries();
    const long returns = tracee.returns();
    CHECK(tracee.Finish() == 49);
    REQUIRE_MESSAGE(tracee.Await(), tracee.message());
    waited += !gone;
    if (gone) {
      CHECK(tracee.entries() == entries);
      CHECK(tracee.returns() == returns);
    }
    REQUIRE_MESSAGE(tracee.Do(Tracee::kAttach), tracee.message());
    CHECK(tracee.in_use() == 0);
  }
  CHECK(held > 60);
  CHECK(waited > 5);
}

}  // namespace
}  // namespace retprobe
