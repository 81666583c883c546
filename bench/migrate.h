// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_MIGRATE_H_
#define RETPROBE_BENCH_MIGRATE_H_

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/cache_line.h"
#include "scenario.h"

namespace retprobe::bench {

// From one thread to one other. Each side reads the other's position only when
// it must.
class Handover {
 public:
  void Send(void* object) {
    Patience patience;
    const uint64_t at = sent_.load(std::memory_order_relaxed);
    while (at - seen_received_ == kCapacity) {
      seen_received_ = received_.load(std::memory_order_acquire);
      if (at - seen_received_ == kCapacity) patience.Wait();
    }
    objects_[at % kCapacity] = object;
    sent_.store(at + 1, std::memory_order_release);
  }
  void* Receive() {
    Patience patience;
    const uint64_t at = received_.load(std::memory_order_relaxed);
    while (at == seen_sent_) {
      seen_sent_ = sent_.load(std::memory_order_acquire);
      if (at == seen_sent_) patience.Wait();
    }
    void* object = objects_[at % kCapacity];
    received_.store(at + 1, std::memory_order_release);
    return object;
  }

 private:
  static constexpr uint64_t kCapacity = 64;
  alignas(kCacheLine) std::atomic<uint64_t> sent_{0};
  uint64_t seen_received_ = 0;  // the sender's
  alignas(kCacheLine) std::atomic<uint64_t> received_{0};
  uint64_t seen_sent_ = 0;  // the receiver's
  alignas(kCacheLine) void* objects_[kCapacity];
};

// In the pool's place, for what handing over costs by itself.
class NoPool {
 public:
  NoPool(size_t, size_t) {}
  void* Pop() { return this; }
  void Push(void* object) { benchmark::DoNotOptimize(object); }
};

// Threads in pairs: one pops and hands over, the other pushes. There are four
// times the objects that can be under way; a pop that fails is tried again.
template <typename Pool>
void Migrate(benchmark::State& state) {
  static std::unique_ptr<Pool> pool;
  static std::unique_ptr<Handover[]> handovers;
  const int pair = state.thread_index() / 2;
  const bool sender = state.thread_index() % 2 == 0;
  RunScenario(
      state, pool,
      [&] {
        pool = std::make_unique<Pool>(128 * state.threads(), kObjectSize);
        handovers = std::make_unique<Handover[]>(state.threads() / 2);
      },
      [&](Local<Pool>& local, uint64_t pops) {
        Handover& handover = handovers[pair];
        Tally tally;
        if (!sender) {
          for (uint64_t i = 0; i < pops; ++i) local.Push(handover.Receive());
          return tally;
        }
        Patience patience;
        while (tally.hits < pops) {
          void* object = local.Pop();
          if (object != nullptr) {
            ++tally.hits;
            handover.Send(object);
          } else {
            ++tally.misses;
            patience.Wait();
          }
        }
        return tally;
      },
      [](Local<Pool>&) {}, state.threads() / 2);
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_MIGRATE_H_
