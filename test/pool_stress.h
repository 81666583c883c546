// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_POOL_STRESS_H_
#define RETPROBE_TEST_POOL_STRESS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "affinity.h"
#include "object_ledger.h"
#include "signal_storm.h"

namespace retprobe::test {

// Seconds for all cases of the stress program together, as
// RETPROBE_STRESS_SECONDS says, else 15.
inline double StressSeconds() {
  const char* text = std::getenv("RETPROBE_STRESS_SECONDS");
  return text != nullptr ? std::atof(text) : 15;
}

// A number that follows; the state must not be 0 (G. Marsaglia's xorshift).
inline uint64_t Random(uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

struct StressOptions {
  int threads = 4;
  int hold = 4;  // objects a thread holds at most, handlers apart
  double seconds = 1;
  bool signals = false;
  bool migrate = false;
  bool batch = false;  // several objects at once, now and then
  bool drop = false;   // some objects for good
  bool stop_at_failure = false;
  uint64_t seed = 88172645463325252u;  // not 0
  // Called by the thread that waits for the others, every 5 ms or so.
  std::function<void()> meanwhile = [] {};
};

// Runs threads that pop and push, and knows who owns what. Pool: as
// ObjectLedger's.
template <typename Pool>
class PoolStress {
 public:
  explicit PoolStress(Pool& pool, size_t words = 1) : ledger_(pool, words) {}

  void Run(const StressOptions& options) {
    options_ = options;
    stop_.store(false);
    current_.store(this);
    if (options.signals) {
      OnSignal(SIGRTMIN, [](int) {
        if (auto* stress = current_.load()) stress->Interrupt();
      });
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < options.threads; ++i) {
      threads.emplace_back([this, i] { Thread(i); });
    }
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::duration<double>(options.seconds);
    while (std::chrono::steady_clock::now() < end &&
           !(options.stop_at_failure && ledger_.failed())) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      options.meanwhile();
    }
    stop_.store(true);
    for (std::thread& thread : threads) thread.join();
    current_.store(nullptr);
  }

  ObjectLedger<Pool>& ledger() { return ledger_; }
  uint64_t hits() const { return hits_.load(); }
  uint64_t misses() const { return misses_.load(); }
  uint64_t signals() const { return signals_.load(); }

 private:
  void Thread(int number) {
    const AffinityGuard affinity;
    std::unique_ptr<SignalStorm> storm;
    if (options_.signals) {
      storm = std::make_unique<SignalStorm>(100'000 + 7'919 * number);
    }
    uint64_t random = options_.seed + 977 * static_cast<uint64_t>(number);
    if (random == 0) random = 1;
    uint64_t hits = 0;
    uint64_t misses = 0;
    std::vector<void*> held;
    while (!stop_.load(std::memory_order_relaxed)) {
      const size_t wanted = 1 + Random(random) % options_.hold;
      if (held.size() < wanted) {
        const size_t before = held.size();
        Take(held, wanted, options_.batch && Random(random) % 2 == 0);
        hits += held.size() - before;
        misses += held.size() < wanted;
      }
      if (options_.migrate && Random(random) % 64 == 0) {
        PinTo(affinity.Nth(static_cast<unsigned>(Random(random) >> 32)));
      }
      if (options_.batch && Random(random) % 8 == 0) GiveAll(held);
      while (!held.empty() && Random(random) % 4 != 0) {
        Give(held.back(), options_.drop && Random(random) % 32 == 0);
        held.pop_back();
      }
      if (held.size() == static_cast<size_t>(options_.hold)) {
        Give(held.front(), false);
        held.erase(held.begin());
      }
    }
    for (void* object : held) ledger_.Push(object);
    hits_ += hits;
    misses_ += misses;
  }

  // Until there are `wanted` objects in `held`, or a pop fails.
  void Take(std::vector<void*>& held, size_t wanted, bool batch) {
    if constexpr (requires(Pool & pool) { pool.PopBatch(nullptr, 0); }) {
      if (batch) {
        const size_t before = held.size();
        held.resize(wanted);
        held.resize(before + ledger_.PopBatch(&held[before], wanted - before));
        return;
      }
    }
    while (held.size() < wanted) {
      void* object = ledger_.Pop();
      if (object == nullptr) return;
      held.push_back(object);
    }
  }

  void GiveAll(std::vector<void*>& held) {
    if constexpr (requires(Pool & pool) { pool.PushBatch(nullptr, 0); }) {
      ledger_.PushBatch(held.data(), held.size());
      held.clear();
    }
  }

  void Give(void* object, bool drop) {
    if constexpr (requires(Pool & pool) { pool.Drop(nullptr); }) {
      if (drop) {
        ledger_.Drop(object);
        return;
      }
    }
    ledger_.Push(object);
  }

  void Interrupt() {
    signals_.fetch_add(1, std::memory_order_relaxed);
    void* first = ledger_.Pop();
    void* second = ledger_.Pop();
    if (first != nullptr) ledger_.Push(first);
    if (second != nullptr) ledger_.Push(second);
  }

  static inline std::atomic<PoolStress*> current_{nullptr};

  ObjectLedger<Pool> ledger_;
  StressOptions options_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> hits_{0};
  std::atomic<uint64_t> misses_{0};
  std::atomic<uint64_t> signals_{0};
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_POOL_STRESS_H_
