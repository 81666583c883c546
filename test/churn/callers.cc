// SPDX-License-Identifier: Apache-2.0
#include "churn/callers.h"

#include <sched.h>

#include <cstdint>
#include <memory>

#include "patch/entries.h"
#include "signal_storm.h"

extern "C" __attribute__((noinline, noclone)) long churn_thrower(long depth) {
  std::unique_ptr<long> owned = std::make_unique<long>(depth);
  asm volatile("" : : "r"(owned.get()) : "memory");
  if (depth == 0) throw 7L;
  return churn_thrower(depth - 1) + *owned;
}

extern "C" __attribute__((noinline, noclone)) double churn_scale(double x,
                                                                 long times) {
  asm volatile("");
  return x * static_cast<double>(times);
}

namespace retprobe::test {
namespace {

struct Target {
  long (*function)(long, long);
  long expected;
};
constexpr size_t kIntegers = 6;
const Target kFunctions[kIntegers] = {
    {entry_patchable, 3 * 40 + 2}, {entry_push, 49}, {entry_endbr, 51},
    {entry_short_condition, 140},  {entry_call, 86}, {entry_load_rip, 1080},
};

bool CallThrower() {
  try {
    churn_thrower(kThrownThrough - 1);
  } catch (long value) {
    return value == 7;
  }
  return false;
}

std::atomic<long> wrong_in_signal;
std::array<std::atomic<long>, kTargets> calls_in_signal;

void OnInterrupt(int) {
  static thread_local size_t next = 0;
  const size_t target = next++ % kIntegers;
  if (!CallTarget(target)) ++wrong_in_signal;
  ++calls_in_signal[target];
}

}  // namespace

void* TargetAddress(size_t target) {
  if (target < kIntegers) {
    return reinterpret_cast<void*>(kFunctions[target].function);
  }
  return target == kThrower ? reinterpret_cast<void*>(churn_thrower)
                            : reinterpret_cast<void*>(churn_scale);
}

bool CallTarget(size_t target) {
  if (target < kIntegers) {
    const Target& function = kFunctions[target];
    return function.function(40, 2) == function.expected;
  }
  return target == kThrower ? CallThrower() : churn_scale(1.5, 4) == 6.0;
}

Callers::Callers(const How& how) : how_(how) {
  if (how_.interrupted) {
    OnSignal(SIGRTMIN, OnInterrupt);
    wrong_in_signal = 0;
    for (std::atomic<long>& calls : calls_in_signal) calls = 0;
  }
  for (int i = 0; i < how_.threads; ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

void Callers::Call(long rounds) {
  long calls[kTargets] = {};
  for (long i = 0; i < rounds; ++i) {
    // relaxed: stopping takes its time.
    if (stop_.load(std::memory_order_relaxed)) break;
    for (size_t target = 0; target < kTargets; ++target) {
      if (target == kThrower && !how_.throwing) continue;
      if (!CallTarget(target)) {
        last_wrong_ = target;
        ++wrong_;
      }
      calls[target] += target == kThrower ? kThrownThrough : 1;
    }
    // relaxed: a counter.
    if (i % 16 == 0) rounds_.fetch_add(16, std::memory_order_relaxed);
  }
  for (size_t target = 0; target < kTargets; ++target) {
    calls_[target] += calls[target];
  }
}

void Callers::Run() {
  std::unique_ptr<SignalStorm> storm;
  if (how_.interrupted) storm = std::make_unique<SignalStorm>(1'000'000);
  while (!stop_) {
    if (how_.ending) {
      std::thread([this] { Call(300); }).join();
    } else {
      Call(1'000'000);
    }
  }
}

void Callers::Stop() {
  stop_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  if (!how_.interrupted) return;
  wrong_ += wrong_in_signal.exchange(0);
  for (size_t target = 0; target < kTargets; ++target) {
    calls_[target] += calls_in_signal[target].exchange(0);
  }
}

void Callers::Await(long more) const {
  const long until = rounds_ + more;
  while (rounds_ < until) sched_yield();
}

}  // namespace retprobe::test
