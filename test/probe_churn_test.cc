// SPDX-License-Identifier: Apache-2.0
//
// Probes that come and go on functions which other threads call without pause.
#include <doctest/doctest.h>

#include <deque>
#include <vector>

#include "churn/cycle.h"
#include "probe/registry.h"

namespace retprobe::test {
namespace {

// Probes that stay, on every function, while others come and go.
class Staying {
 public:
  explicit Staying(int each) {
    for (size_t target = 0; target < kTargets; ++target) {
      for (int i = 0; i < each; ++i) {
        all_.push_back({target, &NextWatched(), {}});
        Churn churn;
        const auto kind = i % 2 == 0 ? Watched::kBoth : Watched::kArguments;
        auto probe = Attach(target, *all_.back().watched, kind, &churn);
        REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
        all_.back().probe.push_back(*std::move(probe));
      }
    }
  }
  ~Staying() {
    for (One& one : all_) {
      one.probe.clear();
      one.watched->End();
    }
  }

  // Each call is seen, but for those that signal handlers made while a handler
  // of ours ran.
  void CheckCounts(const Callers& callers) const {
    for (const One& one : all_) {
      const size_t target = one.target;
      CAPTURE(target);
      const Missed missed = one.probe[0].nmissed();
      CHECK(missed.empty == 0);
      CHECK(missed.dying == 0);
      const long entries = one.watched->entries();
      CHECK(entries + static_cast<long>(missed.recursion) ==
            callers.calls(target));
      CHECK((target == kThrower ? one.watched->unwound()
                                : one.watched->returned()) == entries);
    }
  }

 private:
  struct One {
    size_t target;
    Watched* watched;
    std::vector<ReturnProbe> probe;
  };
  std::deque<One> all_;
};

void ComeAndGo(const char* name, Callers::How how) {
  for (const int threads : kThreadCounts) {
    how.threads = threads;
    Callers callers(how);
    callers.Await(16);
    Churn churn;
    for (long i = 0; i < Cycles(threads); ++i) {
      size_t target = static_cast<size_t>(i) % kTargets;
      if (target == kThrower && !how.throwing) target = 0;
      Cycle(callers, target, &churn);
    }
    callers.Stop();
    Report(name, threads, churn);
    CheckNothingIsLeft(callers);
  }
}

TEST_CASE("probes come and go on functions that are called without pause") {
  ComeAndGo("calls", {});
}

TEST_CASE("probes come and go under exceptions") {
  ComeAndGo("exceptions", {.throwing = true});
}

TEST_CASE("probes come and go under signals whose handlers are probed") {
  ComeAndGo("signals", {.interrupted = true});
}

TEST_CASE("probes come and go while threads start and end") {
  ComeAndGo("threads", {.ending = true});
}

TEST_CASE("probes that stay miss nothing while others come and go") {
  for (const int threads : kThreadCounts) {
    Staying staying(3);
    Callers callers(
        {.threads = threads, .throwing = true, .interrupted = true});
    Churn churn;
    for (long i = 0; i < 2 * Cycles(threads); ++i) {
      Cycle(callers, static_cast<size_t>(i) % kTargets, &churn);
    }
    callers.Stop();
    Report("staying", threads, churn);
    staying.CheckCounts(callers);
  }
  CHECK(Registry::Get().InstancesInUse() == 0);
  CHECK(g_violations.total() == 0);
}

// Disables and enables `probe`, which is enabled, `cycles` times.
void Switch(ReturnProbe& probe, const Callers& callers, long cycles,
            Churn* churn) {
  for (; churn->cycles < cycles; ++churn->cycles) {
    probe.Disable();
    if (churn->cycles % 32 == 0) callers.Await(20);
    probe.Enable();
    if (churn->cycles % 32 == 16) callers.Await(20);
  }
}

// Requires: all callers have stopped.
void EndSwitched(ReturnProbe& probe, Watched& watched, const Callers& callers) {
  // Whoever was let in was let out.
  CHECK(watched.entries() == watched.returned());
  CHECK(watched.entries() > 0);
  probe.Detach();
  watched.End();
  CheckNothingIsLeft(callers);
}

TEST_CASE("probes that stay miss nothing while another is switched") {
  for (const int threads : kThreadCounts) {
    Staying staying(2);
    Watched& watched = NextWatched();
    Churn churn;
    auto probe = Attach(1, watched, Watched::kBoth, &churn);
    REQUIRE(probe.ok());
    Callers callers({.threads = threads, .interrupted = true});
    Switch(*probe, callers, 3 * Cycles(threads), &churn);
    callers.Stop();
    Report("switching", threads, churn);
    staying.CheckCounts(callers);
    EndSwitched(*probe, watched, callers);
  }
}

TEST_CASE("a probe alone on its function is switched under load") {
  for (const int threads : kThreadCounts) {
    Watched& watched = NextWatched();
    Churn churn;
    auto probe = Attach(1, watched, Watched::kBoth, &churn);
    REQUIRE(probe.ok());
    Callers callers({.threads = threads});
    Switch(*probe, callers, 3 * Cycles(threads), &churn);
    callers.Stop();
    Report("switching alone", threads, churn);
    EndSwitched(*probe, watched, callers);
  }
}

}  // namespace
}  // namespace retprobe::test
