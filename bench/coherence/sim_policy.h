// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_SIM_POLICY_H_
#define RETPROBE_BENCH_COHERENCE_SIM_POLICY_H_

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "coherence/simulator.h"

namespace retprobe::bench {

inline void SimAccess(const void* address, AccessKind kind) {
  if (Simulator* simulator = Simulator::Current(); simulator != nullptr) {
    simulator->Access(address, kind);
  }
}

// A std::atomic of the virtual CPUs. Laid out as T, so that memory of zeros is
// full of them. Sequentially consistent whatever the order: this model is about
// cost, relacy's about order. A failing compare-and-swap costs what a
// succeeding one does, and never fails for no reason. Outside a simulation,
// plain memory.
template <typename T>
class SimAtomic {
 public:
  constexpr SimAtomic() noexcept = default;
  constexpr SimAtomic(T value) noexcept : value_(value) {}  // NOLINT
  SimAtomic(const SimAtomic&) = delete;
  SimAtomic& operator=(const SimAtomic&) = delete;

  T load(std::memory_order) const noexcept {
    SimAccess(&value_, AccessKind::kLoad);
    return value_;
  }
  void store(T value, std::memory_order) noexcept {
    SimAccess(&value_, AccessKind::kStore);
    value_ = value;
  }
  // The store that ends a restartable section. False: it must start anew.
  bool Commit(T value) noexcept {
    SimAccess(&value_, AccessKind::kStore);
    Simulator* const simulator = Simulator::Current();
    if (simulator != nullptr && simulator->Interrupted()) return false;
    value_ = value;
    return true;
  }
  T exchange(T value, std::memory_order) noexcept {
    SimAccess(&value_, AccessKind::kUpdate);
    return std::exchange(value_, value);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order,
                               std::memory_order) noexcept {
    SimAccess(&value_, AccessKind::kUpdate);
    if (value_ != expected) {
      expected = value_;
      return false;
    }
    value_ = desired;
    return true;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure) noexcept {
    return compare_exchange_strong(expected, desired, success, failure);
  }
  T fetch_add(T value, std::memory_order) noexcept {
    SimAccess(&value_, AccessKind::kUpdate);
    return std::exchange(value_, static_cast<T>(value_ + value));
  }
  T fetch_sub(T value, std::memory_order) noexcept {
    SimAccess(&value_, AccessKind::kUpdate);
    return std::exchange(value_, static_cast<T>(value_ - value));
  }
  T fetch_and(T value, std::memory_order) noexcept {
    SimAccess(&value_, AccessKind::kUpdate);
    return std::exchange(value_, static_cast<T>(value_ & value));
  }
  T fetch_or(T value, std::memory_order) noexcept {
    SimAccess(&value_, AccessKind::kUpdate);
    return std::exchange(value_, static_cast<T>(value_ | value));
  }

 private:
  T value_{};
};
static_assert(sizeof(SimAtomic<uint64_t>) == 8 &&
              std::is_standard_layout_v<SimAtomic<uint64_t>>);

// The policy of bench/peers for virtual CPUs.
struct SimPolicy {
  template <typename T>
  using Atomic = SimAtomic<T>;

  static uint32_t Cpu() {
    const Simulator* simulator = Simulator::Current();
    return simulator != nullptr ? simulator->cpu() : 0;
  }
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_SIM_POLICY_H_
