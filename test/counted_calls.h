// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_COUNTED_CALLS_H_
#define RETPROBE_TEST_COUNTED_CALLS_H_

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "probe/registry.h"
#include "retprobe/return_probe.h"

#define TARGET extern "C" __attribute__((noinline, noclone))

// Probes that count how calls begin and end.
namespace retprobe {

inline void* Address(auto* function) {
  return reinterpret_cast<void*>(function);
}

inline size_t Out() { return Registry::Get().InstancesInUse(); }

// Runs `run(i)` in `count` threads at once, i from 0.
inline void InThreads(int count, const std::function<void(int)>& run) {
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      ++ready;
      while (ready != count) std::this_thread::yield();
      run(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

struct Ends {
  std::atomic<long> entries{0};
  std::atomic<long> returned{0};
  std::atomic<long> unwound{0};
  long all() const { return returned + unwound; }
};

inline ReturnProbeOptions Counting(Ends& ends) {
  ReturnProbeOptions options;
  options.entry_handler = [&ends](EntryContext&) noexcept {
    ++ends.entries;
    return true;
  };
  options.return_handler = [&ends](ReturnContext& context) noexcept {
    ++(context.reason() == EndReason::kReturned ? ends.returned : ends.unwound);
  };
  return options;
}

inline ReturnProbe Attached(void* function, ReturnProbeOptions options) {
  auto probe = ReturnProbe::Attach(function, std::move(options));
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  return *std::move(probe);
}

}  // namespace retprobe

#endif  // RETPROBE_TEST_COUNTED_CALLS_H_
