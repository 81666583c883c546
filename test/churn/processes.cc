// SPDX-License-Identifier: Apache-2.0
//
// Probes that come and go while processes fork, libraries are loaded and
// unloaded, and activations last.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "churn/cycle.h"
#include "probe/registry.h"

extern "C" __attribute__((noinline, noclone)) long churn_lasting(
    std::atomic<int>* inside, const std::atomic<bool>* leave) {
  if (inside == nullptr) return 1;
  ++*inside;
  while (!*leave) std::this_thread::yield();
  return 2;
}

namespace retprobe::test {
namespace {

// What a child does with probes that it inherited and with its own.
bool ChildGoesOn(ReturnProbe& inherited) {
  for (size_t target = 0; target < kTargets; ++target) {
    if (!CallTarget(target)) return false;
  }
  inherited.Detach();
  Watched& watched = NextWatched();
  Churn churn;
  auto probe = Attach(2, watched, Watched::kBoth, &churn);
  if (!probe.ok() || !CallTarget(2)) return false;
  probe->Detach();
  return watched.entries() == 1 && watched.returned() == 1 && CallTarget(2) &&
         g_violations.total() == 0;
}

TEST_CASE(
    "children go on with the probes of a process that is busy with them") {
  for (const int threads : kThreadCounts) {
    Callers callers({.threads = threads, .throwing = true});
    Churn churn;
    std::atomic<bool> stop{false};
    std::thread other([&] {  // forks meet a registry at work
      while (!stop)
        Cycle(callers, static_cast<size_t>(churn.cycles) % kTargets, &churn);
    });
    int forks = 0;
    for (; forks < Cycles(threads) / 4; ++forks) {
      Watched& watched = NextWatched();
      Churn own;
      auto probe = Attach(static_cast<size_t>(forks) % kTargets, watched,
                          Watched::kBoth, &own);
      REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
      const pid_t child = fork();
      if (child == 0) {
        alarm(60);
        _exit(ChildGoesOn(*probe) ? 0 : 1);
      }
      int status = -1;
      waitpid(child, &status, 0);
      CHECK(status == 0);
      probe->Detach();
      watched.End();
    }
    stop = true;
    other.join();
    callers.Stop();
    Report("forks", threads, churn);
    CheckNothingIsLeft(callers);
  }
}

// Loads the plugin, probes its function, calls it, and unloads it: before or
// after the probe has gone. Returns whether all counts were right.
bool PluginCycle(long cycle) {
  void* const plugin = dlopen(RETPROBE_CHURN_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) return false;
  void* const symbol = dlsym(plugin, "churn_plugin");
  auto* const function = reinterpret_cast<long (*)(long, long)>(symbol);
  Watched& watched = NextWatched();
  auto probe = ReturnProbe::Attach(symbol, watched.Begin(Watched::kBoth));
  if (!probe.ok()) {
    MESSAGE(probe.status().ToString());
    dlclose(plugin);
    return false;
  }
  bool right = true;
  for (long i = 0; i < 20; ++i) right &= function(i, 2) == 5 * i - 2;
  right &= watched.entries() == 20 && watched.returned() == 20;
  const bool unload_first = cycle % 2 == 0;
  if (unload_first) dlclose(plugin);
  probe->Detach();
  watched.End();
  if (!unload_first) dlclose(plugin);
  return right;
}

TEST_CASE("probed libraries come and go meanwhile") {
  for (const int threads : kThreadCounts) {
    Callers callers({.threads = threads});
    Churn churn;
    std::atomic<bool> stop{false};
    std::atomic<long> loads{0};
    std::atomic<long> wrong{0};
    std::thread loader([&] {
      while (!stop) wrong += !PluginCycle(loads++);
    });
    while (churn.cycles < Cycles(threads) || loads < Cycles(threads) / 2) {
      Cycle(callers, static_cast<size_t>(churn.cycles) % (kTargets - 1),
            &churn);
    }
    stop = true;
    loader.join();
    callers.Stop();
    Report("libraries", threads, churn);
    CHECK(wrong == 0);
    CheckNothingIsLeft(callers);
  }
}

size_t HeapInUse() { return mallinfo2().uordblks; }

// Activations that last keep their own lists, but not those that come after.
TEST_CASE("memory stays bounded while activations last, and goes after them") {
  constexpr int kLasting = 4;
  std::atomic<int> inside{0};
  std::atomic<bool> leave{false};
  void* const function = reinterpret_cast<void*>(churn_lasting);
  const auto come_and_go = [&](int times) {
    for (int i = 0; i < times; ++i) {
      Watched& watched = NextWatched();
      auto probe = ReturnProbe::Attach(
          function, watched.Begin(static_cast<Watched::Kind>(i % 4)));
      REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
      CHECK(churn_lasting(nullptr, nullptr) == 1);
      probe->Detach();
      watched.End();
    }
  };
  come_and_go(400);
  const size_t before = HeapInUse();
  std::vector<std::thread> lasting;
  for (int i = 0; i < kLasting; ++i) {
    Watched& watched = NextWatched();
    auto probe = ReturnProbe::Attach(function, watched.Begin(Watched::kBoth));
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
    lasting.emplace_back([&] { churn_lasting(&inside, &leave); });
    while (inside <= i) std::this_thread::yield();
    // Does not wait for them.
    probe->Detach();
    watched.End();
  }
  CHECK(Registry::Get().InstancesInUse() == kLasting);
  come_and_go(3000);
  const size_t during = HeapInUse();
  leave = true;
  for (std::thread& thread : lasting) thread.join();
  CHECK(Registry::Get().InstancesInUse() == 0);
  come_and_go(400);
  const size_t after = HeapInUse();
  MESSAGE("heap: " << before << ", " << during << " and " << after << " bytes");
  // 3000 lists and probes are more than 800,000 bytes.
  CHECK(during < before + 100'000);
  CHECK(after < before + 50'000);
  CHECK(g_violations.total() == 0);
}

}  // namespace
}  // namespace retprobe::test
